//! One exchange: its type, its properties, and when a second declaration means the same.

use crate::protocol::{Table, Value};

use super::bindings::Bindings;
use super::terms::{Term, type_name};
use crate::broker::core::refusal::Refusal;

pub(super) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl Kind {
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "direct" => Self::Direct,
            "fanout" => Self::Fanout,
            "topic" => Self::Topic,
            "headers" => Self::Headers,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

/// What a declaration says about an exchange, besides its name and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Properties {
    pub kind: Kind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub name: Box<str>,
    pub properties: Properties,
    /// Where messages go that this exchange routes nowhere. It need not exist, and may be declared later.
    pub alternate: Option<Box<str>>,
    /// Those that have this exchange as their source.
    pub bindings: Bindings,
    /// The number of the last walk that came here.
    pub visited: u64,
}

impl Exchange {
    /// Whether it has to go, now that it lost a binding.
    pub fn is_over(&self) -> bool {
        self.properties.auto_delete && self.bindings.is_empty()
    }

    /// Checks that a declaration says what the exchange is. `title` is the exchange's, for the text.
    pub fn check_equivalent(
        &self,
        title: &str,
        declared: Properties,
        arguments: Table<'_>,
    ) -> Result<(), Refusal> {
        let has = self.properties;
        let flag = |name, declared: bool, has: bool| {
            check_same(title, name, &declared.to_string(), &has.to_string())
        };
        check_same(title, "type", declared.kind.name(), has.kind.name())?;
        flag("durable", declared.durable, has.durable)?;
        flag("auto_delete", declared.auto_delete, has.auto_delete)?;
        flag("internal", declared.internal, has.internal)?;
        self.check_alternate(title, find(arguments, ALTERNATE_EXCHANGE))
    }

    /// The only argument that counts. RabbitMQ compares values, not their types.
    fn check_alternate(&self, title: &str, declared: Option<Value<'_>>) -> Result<(), Refusal> {
        let (received, current) = match (declared, self.alternate.as_deref()) {
            (None, None) => return Ok(()),
            (Some(Value::LongStr(name)), Some(has)) if name == has => return Ok(()),
            (Some(Value::Bytes(name)), Some(has)) if name == has.as_bytes() => return Ok(()),
            (Some(Value::Void), Some(has)) => ("none".into(), format!("'{has}'")),
            (Some(value), Some(has)) => (format!("'{}'", Term::bare(value)), format!("'{has}'")),
            (Some(value), None) => (described(value), "none".into()),
            (None, Some(has)) => ("none".into(), described(has.into())),
        };
        Err(inequivalent(title, ALTERNATE_EXCHANGE, &received, &current))
    }
}

/// The first argument with this name.
pub(super) fn find<'a>(arguments: Table<'a>, name: &str) -> Option<Value<'a>> {
    arguments.get(name).ok().flatten()
}

/// The alternate exchange that the arguments of a new exchange name.
pub(super) fn alternate(title: &str, arguments: Table<'_>) -> Result<Option<Box<str>>, Refusal> {
    match find(arguments, ALTERNATE_EXCHANGE) {
        None => Ok(None),
        Some(Value::LongStr(name)) => Ok(Some(name.to_string().into())),
        Some(value) => Err(Refusal::precondition(format!(
            "invalid type '{}' for arg '{ALTERNATE_EXCHANGE}' in {title}",
            type_name(value)
        ))),
    }
}

fn check_same(title: &str, name: &str, declared: &str, has: &str) -> Result<(), Refusal> {
    if declared == has {
        return Ok(());
    }
    Err(inequivalent(
        title,
        name,
        &format!("'{declared}'"),
        &format!("'{has}'"),
    ))
}

fn described(value: Value<'_>) -> String {
    format!(
        "the value '{}' of type '{}'",
        Term::bare(value),
        type_name(value)
    )
}

fn inequivalent(title: &str, name: &str, received: &str, current: &str) -> Refusal {
    Refusal::precondition(format!(
        "inequivalent arg '{name}' for {title}: received {received} but current is {current}"
    ))
}
