//! Which headers match which bindings.

use super::super::headers::{Headers, matches};
use super::*;
use crate::protocol::{Decimal, FieldArray};

type Entries<'a> = &'a [(&'a str, Value<'a>)];

fn is_match(binding: Entries<'_>, headers: Entries<'_>) -> bool {
    let headers = arguments(headers);
    let binding = FieldTable::sorted(arguments(binding).as_table()).unwrap();
    let mut headers = Headers::new(|| Some(headers.as_table()));
    matches(binding.as_table(), headers.sorted())
}

const A1: (&str, Value<'_>) = ("a", Value::I32(1));
const A2: (&str, Value<'_>) = ("a", Value::I32(2));
const B2: (&str, Value<'_>) = ("b", Value::I32(2));
const C3: (&str, Value<'_>) = ("c", Value::I32(3));
const X1: (&str, Value<'_>) = ("x-foo", Value::I32(1));
const X2: (&str, Value<'_>) = ("x-foo", Value::I32(2));

fn x_match(name: &str) -> (&str, Value<'_>) {
    ("x-match", name.into())
}

#[test]
fn all_wants_every_argument_and_is_the_default() {
    for binding in [&[A1, B2][..], &[B2, x_match("all"), A1]] {
        assert!(is_match(binding, &[A1, B2]));
        assert!(is_match(binding, &[C3, B2, ("0", 1.into()), A1]));
        assert!(!is_match(binding, &[A1]));
        assert!(!is_match(binding, &[A2, B2]));
        assert!(!is_match(binding, &[("A", 1.into()), B2]));
        assert!(!is_match(binding, &[]));
    }
}

#[test]
fn any_wants_one_argument() {
    let binding = &[x_match("any"), A1, B2];
    assert!(is_match(binding, &[A1]));
    assert!(is_match(binding, &[B2]));
    assert!(is_match(binding, &[A2, B2]));
    assert!(!is_match(binding, &[A2, C3]));
    assert!(!is_match(binding, &[]));
}

#[test]
fn without_arguments_all_matches_everything_and_any_nothing() {
    for headers in [&[][..], &[A1], &[x_match("all")]] {
        assert!(is_match(&[], headers));
        assert!(is_match(&[x_match("all")], headers));
        assert!(is_match(&[x_match("all-with-x")], headers));
        assert!(!is_match(&[x_match("any")], headers));
        assert!(!is_match(&[x_match("any-with-x")], headers));
    }
}

#[test]
fn arguments_that_begin_with_x_count_only_where_they_are_asked_for() {
    assert!(is_match(&[X1], &[]));
    assert!(is_match(&[X1, A1], &[A1, X2]));
    assert!(!is_match(&[X1, A1], &[X1]));
    assert!(!is_match(&[x_match("any"), X1], &[X1]));
    let all = &[x_match("all-with-x"), X1, A1];
    assert!(is_match(all, &[A1, X1]));
    assert!(!is_match(all, &[A1, X2]));
    assert!(!is_match(all, &[A1]));
    let any = &[x_match("any-with-x"), X1, A2];
    assert!(is_match(any, &[X1]));
    assert!(!is_match(any, &[X2, A1]));
}

#[test]
fn an_argument_without_a_value_wants_the_header_to_be_there() {
    let void = ("a", Value::Void);
    assert!(is_match(&[void], &[A1]));
    assert!(is_match(&[void], &[void]));
    assert!(!is_match(&[void], &[B2]));
    assert!(!is_match(&[A1], &[void]));
}

/// RabbitMQ compares values and not their types.
#[test]
fn values_are_the_same_in_any_type_that_can_hold_them() {
    let same = |one, other| {
        let is_same = is_match(&[("a", one)], &[("a", other)]);
        assert_eq!(is_same, is_match(&[("a", other)], &[("a", one)]));
        is_same
    };
    let ones = [
        Value::I8(1),
        Value::U8(1),
        Value::I16(1),
        Value::U16(1),
        Value::I32(1),
        Value::U32(1),
        Value::I64(1),
        Value::Timestamp(1),
        Value::F32(1.0),
        Value::F64(1.0),
    ];
    for one in ones {
        assert!(ones.iter().all(|other| same(one, *other)));
        for other in [
            Value::I8(2),
            Value::F64(1.5),
            Value::F64(f64::NAN),
            Value::Bool(true),
            "1".into(),
            Value::Decimal(Decimal { scale: 0, value: 1 }),
        ] {
            assert!(!same(one, other), "{one:?} {other:?}");
        }
    }
    assert!(same("1".into(), Value::Bytes(b"1")));
    assert!(!same("1".into(), "2".into()));
    assert!(same(true.into(), true.into()));
    assert!(!same(true.into(), false.into()));
    // The nearest float is another number.
    assert!(!same(Value::I64(i64::MAX), Value::F64(i64::MAX as f64)));
    assert!(same(Value::Timestamp(1 << 63), Value::F64(i64::MAX as f64)));
}

#[test]
fn arrays_and_tables_are_the_same_with_the_same_values_of_the_same_types() {
    let array = |value: Value<'_>| FieldArray::new().with(1).unwrap().with(value).unwrap();
    let (one, same, other) = (array("x".into()), array("x".into()), array("y".into()));
    assert!(is_match(&[("a", (&one).into())], &[("a", (&same).into())]));
    assert!(!is_match(
        &[("a", (&one).into())],
        &[("a", (&other).into())]
    ));
    let wide = FieldArray::new().with(1i64).unwrap();
    let narrow = FieldArray::new().with(1).unwrap();
    assert!(!is_match(
        &[("a", (&wide).into())],
        &[("a", (&narrow).into())]
    ));
    let (no_values, no_entries) = (FieldArray::new(), FieldTable::new());
    assert!(is_match(
        &[("a", (&no_values).into())],
        &[("a", (&no_entries).into())]
    ));
    let table = arguments(&[A1]);
    let longer = arguments(&[A1, B2]);
    assert!(is_match(
        &[("a", (&table).into())],
        &[("a", (&table).into())]
    ));
    assert!(!is_match(
        &[("a", (&table).into())],
        &[("a", (&longer).into())]
    ));
}

#[test]
fn more_headers_than_fit_in_place_are_sorted_too() {
    let names: Vec<String> = (0..100)
        .rev()
        .map(|number| format!("{number:03}"))
        .collect();
    let headers: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Value::I32(1)))
        .collect();
    assert!(is_match(&headers, &headers));
    assert!(is_match(&headers[40..60], &headers));
    assert!(!is_match(&headers, &headers[1..]));
}
