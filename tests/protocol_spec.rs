//! The table in the source against the machine-readable specification: nothing missing, nothing extra.

use std::collections::BTreeMap;

use amqp_uring::protocol::{
    FRAME_END, FRAME_MIN_SIZE, FieldSpec, FrameKind, METHODS, MethodSpec, PROPERTIES, ReplyCode,
    basic,
};
use roxmltree::{Document, Node};

/// Where the Debian package amqp-specs puts the specification with RabbitMQ's extensions.
const SPECIFICATION: &str = "/usr/share/amqp/specs/0-9-1-rabbit/amqp0-9-1.stripped.extended.xml";

/// Methods of the table that the file lacks, and where they come from.
const METHODS_BEYOND: &[(&str, &str)] = &[
    (
        "connection.blocked",
        "RabbitMQ 3.2 added it after the file was made",
    ),
    (
        "connection.unblocked",
        "RabbitMQ 3.2 added it after the file was made",
    ),
    (
        "connection.update-secret",
        "RabbitMQ 3.8 added it after the file was made",
    ),
    (
        "connection.update-secret-ok",
        "RabbitMQ 3.8 added it after the file was made",
    ),
];

/// Reply codes of the table that the file lacks, and where they come from.
const REPLY_CODES_BEYOND: &[(u16, &str)] = &[(
    312,
    "no-route: the text of the specification leaves it out, and every broker returns unroutable messages with it",
)];

fn with_specification(check: impl FnOnce(Node<'_, '_>)) {
    let text =
        std::fs::read_to_string(SPECIFICATION).expect("the Debian package amqp-specs is installed");
    check(Document::parse(&text).unwrap().root_element());
}

fn children<'a, 'i>(node: Node<'a, 'i>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(tag))
}

fn name<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("name").unwrap()
}

fn number(node: Node<'_, '_>, attribute: &str) -> u16 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

/// A name as Rust has it: `type` is a keyword there.
fn rust_name(name: &str) -> String {
    if name == "type" {
        "type_".to_owned()
    } else {
        name.replace('-', "_")
    }
}

/// Wire types by domain.
fn domains<'a>(root: Node<'a, '_>) -> BTreeMap<&'a str, &'a str> {
    children(root, "domain")
        .map(|domain| (name(domain), domain.attribute("type").unwrap()))
        .collect()
}

fn assert_same_field(
    context: &str,
    field: Node<'_, '_>,
    ours: &FieldSpec,
    domains: &BTreeMap<&str, &str>,
) {
    let domain = field
        .attribute("domain")
        .or_else(|| field.attribute("type"))
        .unwrap();
    assert_eq!(
        ours.domain,
        rust_name(domain),
        "domain of {context} {}",
        ours.name
    );
    assert_eq!(
        ours.wire_type.name(),
        domains[domain],
        "type of {context} {}",
        ours.name
    );
    assert_eq!(
        ours.reserved,
        field.attribute("reserved") == Some("1"),
        "reserved: {context} {}",
        ours.name
    );
}

fn assert_same_method(method: Node<'_, '_>, ours: &MethodSpec, domains: &BTreeMap<&str, &str>) {
    let context = ours.name;
    assert_eq!(ours.method_id, number(method, "index"), "id of {context}");
    assert_eq!(
        ours.is_synchronous(),
        method.attribute("synchronous") == Some("1"),
        "{context} is synchronous"
    );
    assert_eq!(
        ours.has_content(),
        method.attribute("content") == Some("1"),
        "{context} has content"
    );
    let receives = |peer| children(method, "chassis").any(|chassis| name(chassis) == peer);
    assert_eq!(
        ours.to_server(),
        receives("server"),
        "{context} goes to the server"
    );
    assert_eq!(
        ours.to_client(),
        receives("client"),
        "{context} goes to the client"
    );
    let replies: Vec<_> = children(method, "response").map(name).collect();
    assert_eq!(ours.replies, replies, "replies of {context}");
    let fields: Vec<_> = children(method, "field").collect();
    let names: Vec<_> = fields.iter().map(|field| rust_name(name(*field))).collect();
    assert_eq!(
        ours.fields
            .iter()
            .map(|field| field.name)
            .collect::<Vec<_>>(),
        names,
        "fields of {context}"
    );
    for (field, ours) in fields.into_iter().zip(ours.fields) {
        assert_same_field(context, field, ours, domains);
    }
}

#[test]
#[ignore = "needs the Debian package amqp-specs, which tests/run installs"]
fn classes_methods_and_fields_are_those_of_the_specification() {
    with_specification(|root| {
        let domains = domains(root);
        let mut ours: BTreeMap<_, _> = METHODS.iter().map(|method| (method.name, method)).collect();
        assert_eq!(ours.len(), METHODS.len(), "each name once");
        for class in children(root, "class") {
            for method in children(class, "method") {
                let full_name = format!("{}.{}", name(class), name(method));
                let Some(ours) = ours.remove(full_name.as_str()) else {
                    panic!("{full_name} is missing")
                };
                assert_eq!((ours.class, ours.method), (name(class), name(method)));
                assert_eq!(
                    ours.class_id,
                    number(class, "index"),
                    "class of {full_name}"
                );
                assert_same_method(method, ours, &domains);
            }
        }
        let beyond: Vec<_> = METHODS_BEYOND.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            ours.into_keys().collect::<Vec<_>>(),
            beyond,
            "methods that the specification lacks"
        );
    });
}

#[test]
#[ignore = "needs the Debian package amqp-specs, which tests/run installs"]
fn properties_are_those_of_the_specification() {
    with_specification(|root| {
        let domains = domains(root);
        for class in children(root, "class") {
            let fields: Vec<_> = children(class, "field").collect();
            if number(class, "index") != basic::CLASS_ID {
                assert!(fields.is_empty(), "only basic has properties");
                continue;
            }
            assert_eq!(fields.len(), PROPERTIES.len());
            for (field, ours) in fields.into_iter().zip(&PROPERTIES) {
                assert_eq!(ours.name, name(field).replace('-', "_"));
                assert_same_field("basic", field, ours, &domains);
            }
        }
    });
}

#[test]
#[ignore = "needs the Debian package amqp-specs, which tests/run installs"]
fn constants_are_those_of_the_specification() {
    with_specification(|root| {
        let mut reply_codes = Vec::new();
        for constant in children(root, "constant") {
            let value = number(constant, "value");
            match name(constant) {
                "frame-method" => assert_eq!(value, FrameKind::Method as u16),
                "frame-header" => assert_eq!(value, FrameKind::Header as u16),
                "frame-body" => assert_eq!(value, FrameKind::Body as u16),
                "frame-heartbeat" => assert_eq!(value, FrameKind::Heartbeat as u16),
                "frame-min-size" => assert_eq!(u32::from(value), FRAME_MIN_SIZE),
                "frame-end" => assert_eq!(value, u16::from(FRAME_END)),
                reply => {
                    let code =
                        ReplyCode::from_u16(value).unwrap_or_else(|| panic!("{reply} is missing"));
                    assert_eq!(code.name(), reply.replace('-', "_").to_uppercase());
                    assert_eq!(
                        code.is_hard(),
                        constant.attribute("class") == Some("hard-error"),
                        "{reply}"
                    );
                    reply_codes.push(value);
                }
            }
        }
        let beyond = ReplyCode::ALL
            .iter()
            .map(|code| code.code())
            .filter(|code| !reply_codes.contains(code));
        let written: Vec<_> = REPLY_CODES_BEYOND.iter().map(|(code, _)| *code).collect();
        assert_eq!(
            beyond.collect::<Vec<_>>(),
            written,
            "reply codes that the specification lacks"
        );
    });
}

#[test]
fn replies_are_methods_of_the_same_class_that_go_the_other_way() {
    for method in METHODS {
        for reply in method.replies {
            let reply = METHODS
                .iter()
                .find(|other| other.class == method.class && other.method == *reply);
            let reply =
                reply.unwrap_or_else(|| panic!("{} has a reply that is no method", method.name));
            assert!(
                !method.to_server() || reply.to_client(),
                "{} to {}",
                reply.name,
                method.name
            );
            assert!(
                !method.to_client() || reply.to_server(),
                "{} to {}",
                reply.name,
                method.name
            );
        }
    }
}
