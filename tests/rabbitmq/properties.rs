//! Properties and headers, there and back.

use amqp_uring::{Driver, FieldArray, FieldTable, Properties, ShortStr, Value};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT};

fn there_and_back(driver: Driver, properties: &Properties) -> Properties {
    let engine = Scratch::new(driver);
    let queue = engine.queue("properties");
    let mut publisher = engine.confirming();
    publisher.publish("", &queue, properties, "x").unwrap();
    publisher.wait_for_confirms(WAIT).unwrap();
    let taken = engine.take(&queue, 1).remove(0);
    assert_eq!(taken.routing_key, queue);
    taken.properties
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn every_property_comes_back_as_it_was(driver: Driver) {
    let headers = FieldTable::new().with("key", "value").unwrap();
    let properties = Properties::builder()
        .content_type("text/plain")
        .content_encoding("gzip")
        .headers(&headers)
        .delivery_mode(2)
        .priority(7)
        .correlation_id("correlation")
        .reply_to("reply")
        .expiration("600000")
        .message_id("message")
        .timestamp(1_700_000_000)
        .type_("type")
        .user_id("guest")
        .app_id("application")
        .cluster_id("cluster")
        .build()
        .unwrap();
    let back = there_and_back(driver, &properties);
    assert_eq!(back, properties);
    let read = back.as_ref();
    let text = |value: Option<ShortStr<'_>>| value.unwrap().to_string();
    assert_eq!(text(read.content_type().unwrap()), "text/plain");
    assert_eq!(text(read.user_id().unwrap()), "guest");
    assert_eq!(read.delivery_mode(), Ok(Some(2)));
    assert_eq!(read.timestamp(), Ok(Some(1_700_000_000)));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn every_type_of_header_comes_back_as_it_was(driver: Driver) {
    let inner = FieldTable::new().with("deep", "down").unwrap();
    let mut array = FieldArray::new();
    array
        .push(1i32)
        .unwrap()
        .push("two")
        .unwrap()
        .push(&inner)
        .unwrap();
    let values: [(&str, Value<'_>); 15] = [
        ("t", true.into()),
        ("b", (-5i8).into()),
        ("B", 250u8.into()),
        ("s", (-30_000i16).into()),
        ("u", 60_000u16.into()),
        ("I", (-2_000_000_000i32).into()),
        ("i", 4_000_000_000u32.into()),
        ("l", i64::MIN.into()),
        ("f", 1.5f32.into()),
        ("d", (-2.25f64).into()),
        ("S", "text".into()),
        ("T", Value::Timestamp(1_700_000_000)),
        ("V", Value::Void),
        ("x", Value::Bytes(&[0, 255, 1])),
        (
            "D",
            Value::Decimal(amqp_uring::protocol::Decimal {
                scale: 2,
                value: 12_345,
            }),
        ),
    ];
    let mut headers = FieldTable::new();
    for (name, value) in values {
        headers.insert(name, value).unwrap();
    }
    headers
        .insert("A", &array)
        .unwrap()
        .insert("F", &inner)
        .unwrap();
    let properties = Properties::builder().headers(&headers).build().unwrap();
    let back = there_and_back(driver, &properties);
    let back = FieldTable::try_from(back.as_ref().headers().unwrap().unwrap()).unwrap();
    for (name, value) in values {
        assert_eq!(back.get(name), Some(value), "{name}");
    }
    assert_eq!(back, headers);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn no_properties_come_back_as_none(driver: Driver) {
    let back = there_and_back(driver, &Properties::default());
    assert!(back.as_ref().is_empty());
    let back = there_and_back(driver, &Properties::persistent());
    assert_eq!(back, Properties::persistent());
}
