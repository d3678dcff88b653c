//! Turns the table in [`spec`](super::spec) into types, codecs and data: macros only.
//!
//! `specification!` takes the table apart, `method!` makes one method of it. Domains become wire types in
//! `with_domain!`, and these become Rust types in `rust_type!`.

/// Hands the wire type of a domain, and whatever follows, to another macro.
macro_rules! with_domain {
    ($then:ident class_id $($rest:tt)*) => { $then!(short $($rest)*) };
    ($then:ident consumer_tag $($rest:tt)*) => { $then!(shortstr $($rest)*) };
    ($then:ident delivery_tag $($rest:tt)*) => { $then!(longlong $($rest)*) };
    ($then:ident exchange_name $($rest:tt)*) => { $then!(shortstr $($rest)*) };
    ($then:ident message_count $($rest:tt)*) => { $then!(long $($rest)*) };
    ($then:ident method_id $($rest:tt)*) => { $then!(short $($rest)*) };
    ($then:ident no_ack $($rest:tt)*) => { $then!(bit $($rest)*) };
    ($then:ident no_local $($rest:tt)*) => { $then!(bit $($rest)*) };
    ($then:ident no_wait $($rest:tt)*) => { $then!(bit $($rest)*) };
    ($then:ident path $($rest:tt)*) => { $then!(shortstr $($rest)*) };
    ($then:ident peer_properties $($rest:tt)*) => { $then!(table $($rest)*) };
    ($then:ident queue_name $($rest:tt)*) => { $then!(shortstr $($rest)*) };
    ($then:ident redelivered $($rest:tt)*) => { $then!(bit $($rest)*) };
    ($then:ident reply_code $($rest:tt)*) => { $then!(short $($rest)*) };
    ($then:ident reply_text $($rest:tt)*) => { $then!(shortstr $($rest)*) };
    // What is no domain of its own is a wire type.
    ($then:ident $wire:ident $($rest:tt)*) => { $then!($wire $($rest)*) };
}

macro_rules! wire_type {
    (bit) => {
        $crate::protocol::WireType::Bit
    };
    (octet) => {
        $crate::protocol::WireType::Octet
    };
    (short) => {
        $crate::protocol::WireType::Short
    };
    (long) => {
        $crate::protocol::WireType::Long
    };
    (longlong) => {
        $crate::protocol::WireType::LongLong
    };
    (shortstr) => {
        $crate::protocol::WireType::ShortStr
    };
    (longstr) => {
        $crate::protocol::WireType::LongStr
    };
    (timestamp) => {
        $crate::protocol::WireType::Timestamp
    };
    (table) => {
        $crate::protocol::WireType::Table
    };
}

macro_rules! rust_type {
    (bit $lifetime:lifetime) => { bool };
    (octet $lifetime:lifetime) => { u8 };
    (short $lifetime:lifetime) => { u16 };
    (long $lifetime:lifetime) => { u32 };
    (longlong $lifetime:lifetime) => { u64 };
    (timestamp $lifetime:lifetime) => { u64 };
    (shortstr $lifetime:lifetime) => { $crate::protocol::ShortStr<$lifetime> };
    (longstr $lifetime:lifetime) => { $crate::protocol::LongStr<$lifetime> };
    (table $lifetime:lifetime) => { $crate::protocol::Table<$lifetime> };
}

/// One bit of the flags of a `MethodSpec`.
macro_rules! flag {
    (to_server) => {
        1
    };
    (to_client) => {
        2
    };
    (sync) => {
        4
    };
    (content) => {
        8
    };
}

/// What `Debug` shows of an argument: credentials never.
macro_rules! shown {
    (response, $value:expr) => {
        &format_args!("<secret>")
    };
    (new_secret, $value:expr) => {
        &format_args!("<secret>")
    };
    ($field:ident, $value:expr) => {
        $value
    };
}

/// One method: its type, and how it is read and written.
macro_rules! method {
    // A method that borrows, and one that does not.
    ($class:ident $class_id:literal $wire:literal $id:literal $docs:tt $name:ident<$lifetime:lifetime> $($rest:tt)*) => {
        method!(@data $class $class_id $wire $id $docs $name [<$lifetime>] $lifetime $($rest)*);
        method!(@codec $class $wire $name [<$lifetime>] $lifetime $($rest)*);
    };
    ($class:ident $class_id:literal $wire:literal $id:literal $docs:tt $name:ident $($rest:tt)*) => {
        method!(@data $class $class_id $wire $id $docs $name [] '_ $($rest)*);
        method!(@codec $class $wire $name [] '_ $($rest)*);
    };
    (@data $class:ident $class_id:literal $wire:literal $id:literal [$($docs:tt)*]
        $name:ident [$($generics:tt)*] $lifetime:lifetime
        [$($flag:ident)*] [$($reply:literal)*]
        [$($lead:ident: $lead_domain:ident),*]
        [$($(#[$field_doc:meta])* $field:ident: $domain:ident,)*]
        [$($trail:ident: $trail_domain:ident),*]
    ) => {
        $($docs)*
        #[derive(Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name $($generics)* {
            $($(#[$field_doc])* pub $field: with_domain!(rust_type $domain $lifetime),)*
        }

        impl $($generics)* $name $($generics)* {
            /// Id of the class.
            pub const CLASS_ID: u16 = $class_id;
            /// Id of the method within its class.
            pub const METHOD_ID: u16 = $id;
            /// What the specification says of this method.
            pub const SPEC: MethodSpec = MethodSpec {
                class: stringify!($class),
                class_id: $class_id,
                method: $wire,
                method_id: $id,
                name: concat!(stringify!($class), ".", $wire),
                flags: 0 $(| flag!($flag))*,
                replies: &[$($reply),*],
                fields: &[
                    $($crate::protocol::FieldSpec {
                        name: stringify!($lead),
                        domain: stringify!($lead_domain),
                        wire_type: with_domain!(wire_type $lead_domain),
                        reserved: true,
                    },)*
                    $($crate::protocol::FieldSpec {
                        name: stringify!($field),
                        domain: stringify!($domain),
                        wire_type: with_domain!(wire_type $domain),
                        reserved: false,
                    },)*
                    $($crate::protocol::FieldSpec {
                        name: stringify!($trail),
                        domain: stringify!($trail_domain),
                        wire_type: with_domain!(wire_type $trail_domain),
                        reserved: true,
                    },)*
                ],
            };
        }

        impl $($generics)* core::fmt::Debug for $name $($generics)* {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(concat!(stringify!($class), "::", stringify!($name)))
                    $(.field(stringify!($field), shown!($field, &self.$field)))*
                    .finish()
            }
        }
    };
    (@codec $class:ident $wire:literal
        $name:ident [$($generics:tt)*] $lifetime:lifetime
        $flags:tt $replies:tt
        [$($lead:ident: $lead_domain:ident),*]
        [$($(#[$field_doc:meta])* $field:ident: $domain:ident,)*]
        [$($trail:ident: $trail_domain:ident),*]
    ) => {
        impl $($generics)* $name $($generics)* {
            /// Takes the arguments, which come after the class id and the method id. Reserved ones are skipped.
            ///
            /// # Errors
            /// Names the field that is cut short, or what is wrong within a table.
            #[inline]
            #[allow(unused_variables, reason = "some methods have no arguments")]
            pub fn decode_arguments(reader: &mut Reader<$lifetime>) -> Result<Self, DecodeError> {
                $(<with_domain!(rust_type $lead_domain '_) as Field<'_>>::read(
                    reader, concat!(stringify!($class), ".", $wire, " ", stringify!($lead)))?;)*
                $(let $field = Field::read(
                    reader, concat!(stringify!($class), ".", $wire, " ", stringify!($field)))?;)*
                $(<with_domain!(rust_type $trail_domain '_) as Field<'_>>::read(
                    reader, concat!(stringify!($class), ".", $wire, " ", stringify!($trail)))?;)*
                Ok(Self { $($field),* })
            }

            /// Appends the class id, the method id and the arguments. Reserved ones are sent as zero or empty.
            #[inline]
            pub fn encode(&self, out: &mut Vec<u8>) {
                let mut writer = Writer::new(out);
                Field::write(Self::CLASS_ID, &mut writer);
                Field::write(Self::METHOD_ID, &mut writer);
                $(Field::write(<with_domain!(rust_type $lead_domain '_)>::default(), &mut writer);)*
                $(Field::write(self.$field, &mut writer);)*
                $(Field::write(<with_domain!(rust_type $trail_domain '_)>::default(), &mut writer);)*
            }
        }
    };
}

/// The whole table: a module for each class, and the sum of all methods.
macro_rules! specification {
    ($lifetime:lifetime $(
        $(#[$class_doc:meta])*
        class $class:ident $class_id:literal {$(
            $(#[$doc:meta])*
            $wire:literal $id:literal $variant:ident($name:ident $(<$borrow:lifetime>)?)
            [$($flag:ident)*] $(-> [$($reply:literal),*])? {
                $([$($lead:ident: $lead_domain:ident),*])?
                $($(#[$field_doc:meta])* $field:ident: $domain:ident,)*
                $(; [$($trail:ident: $trail_domain:ident),*])?
            }
        )*}
    )*) => {
        $(
            $(#[$class_doc])*
            pub mod $class {
                use super::{DecodeError, Field, MethodSpec, Reader, Writer};

                /// Id of the class.
                pub const CLASS_ID: u16 = $class_id;

                $(method! {
                    $class $class_id $wire $id [$(#[$doc])*] $name $(<$borrow>)?
                    [$($flag)*] [$($($reply)*)?]
                    [$($($lead: $lead_domain),*)?]
                    [$($(#[$field_doc])* $field: $domain,)*]
                    [$($($trail: $trail_domain),*)?]
                })*
            }
        )*

        /// Any method of any class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Method<$lifetime> {
            $($(
                #[doc = concat!("`", stringify!($class), ".", $wire, "`")]
                $variant($class::$name $(<$borrow>)?),
            )*)*
        }

        /// What the specification says of each method, class by class.
        pub const METHODS: &[MethodSpec] = &[$($($class::$name::SPEC),*),*];

        impl<$lifetime> Method<$lifetime> {
            /// Every method but those that `decode` looks for first.
            pub(super) fn decode_by_id(
                class_id: u16,
                method_id: u16,
                reader: &mut Reader<$lifetime>,
            ) -> Result<Self, DecodeError> {
                match (class_id, method_id) {
                    $($(($class_id, $id) => Ok(Self::$variant($class::$name::decode_arguments(reader)?)),)*)*
                    $(($class_id, _) => Err(DecodeError::UnknownMethod { class_id, method_id }),)*
                    _ => Err(DecodeError::UnknownClass { class_id, method_id }),
                }
            }

            /// Appends the class id, the method id and the arguments: the payload of a method frame.
            #[inline]
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $($(Self::$variant(method) => method.encode(out),)*)*
                }
            }

            /// What the specification says of this method.
            pub const fn spec(&self) -> &'static MethodSpec {
                match self {
                    $($(Self::$variant(_) => const { &$class::$name::SPEC },)*)*
                }
            }
        }

        $($(
            impl<$lifetime> From<$class::$name $(<$borrow>)?> for Method<$lifetime> {
                #[inline]
                fn from(method: $class::$name $(<$borrow>)?) -> Self {
                    Self::$variant(method)
                }
            }
        )*)*
    };
}
