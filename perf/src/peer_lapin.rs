//! The same work with lapin, as its users would write it for speed: a window of confirms, acks of many deliveries at once.

use std::collections::VecDeque;

use anyhow::{Context, ensure};
use futures_lite::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

use crate::consume::Consume;
use crate::measure::{Start, Summary};
use crate::publish::Publish;

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// As [`Publish::run`], with confirms.
pub fn publish(work: &Publish) -> anyhow::Result<Summary> {
    block_on(async {
        let connection = Connection::connect(&work.uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let body = vec![0x2a; work.size];
        let mut window = VecDeque::with_capacity(work.window);
        let start = Start::now();
        for _ in 0..work.messages {
            if window.len() == work.window {
                let oldest = window.pop_front().context("the window is not empty")?;
                acked(oldest).await?;
            }
            let confirm = channel
                .basic_publish(
                    work.exchange.as_str().into(),
                    work.routing_key.as_str().into(),
                    BasicPublishOptions::default(),
                    &body,
                    BasicProperties::default(),
                )
                .await?;
            window.push_back(confirm);
        }
        for confirm in window {
            acked(confirm).await?;
        }
        let summary = start.summary(work.messages, work.messages * work.size as u64);
        connection.close(200, "done".into()).await?;
        Ok(summary)
    })
}

async fn acked(confirm: impl Future<Output = lapin::Result<Confirmation>>) -> anyhow::Result<()> {
    let confirmation = confirm.await?;
    ensure!(
        matches!(confirmation, Confirmation::Ack(None)),
        "not taken: {confirmation:?}"
    );
    Ok(())
}

/// As [`Consume::run`], with one ack for half of the prefetch window.
pub fn consume(work: &Consume) -> anyhow::Result<Summary> {
    block_on(async {
        let connection = Connection::connect(&work.uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .basic_qos(work.prefetch, BasicQosOptions::default())
            .await?;
        let mut consumer = channel
            .basic_consume(
                work.queue.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let batch = u64::from(work.prefetch / 2).max(1);
        let (mut taken, mut octets, mut start) = (0, 0, None);
        while taken < work.messages {
            let delivery = consumer.next().await.context("the consumer ended")??;
            start.get_or_insert_with(Start::now);
            taken += 1;
            octets += delivery.data.len() as u64;
            if taken % batch == 0 || taken == work.messages {
                delivery
                    .acker
                    .ack(BasicAckOptions { multiple: true })
                    .await?;
            }
        }
        let summary = start
            .context("at least one message")?
            .summary(taken, octets);
        connection.close(200, "done".into()).await?;
        Ok(summary)
    })
}
