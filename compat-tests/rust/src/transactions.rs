//! The transactions of `compat-tests/tests/clients/transactions.rs`, by krafka.

use std::time::Duration;

use anyhow::{Result, bail};
use krafka::consumer::{Consumer, ConsumerGroupMetadata};
use krafka::producer::{TopicPartitionOffset, TransactionalProducer};
use krafka::{Kafka, KrafkaError, Record};

pub async fn run(bootstrap: &str, topic: &str, group: &str, id: &str) -> Result<()> {
    // krafka commits offsets in a transaction for a member alone.
    let consumer = Kafka::builder(bootstrap)
        .connect()
        .await?
        .consumer(group)
        .enable_auto_commit(false)
        .build()
        .await?;
    let group = joined(&consumer, topic).await?;
    let first = producer(bootstrap, id).await?;
    transact(&first, topic, "committed-0", Some((&group, 3)), true).await?;
    transact(&first, topic, "aborted", Some((&group, 9)), false).await?;
    transact(&first, topic, "committed-1", None, true).await?;
    first.begin()?;
    let _ = first.send(record(topic, "lost")).await?;
    let second = producer(bootstrap, id).await?;
    match first.commit().await {
        Err(KrafkaError::Fenced { .. }) => println!("fenced"),
        Err(error) => return Err(error.into()),
        Ok(()) => bail!("the first producer was not fenced"),
    }
    transact(&second, topic, "committed-2", None, true).await?;
    consumer.close().await?;
    println!("done");
    Ok(())
}

async fn joined(consumer: &Consumer, topic: &str) -> Result<ConsumerGroupMetadata> {
    consumer.subscribe([topic]).await?;
    loop {
        consumer.poll(Duration::from_millis(100)).await?;
        match consumer.group_metadata().await {
            Some(group) if !consumer.assignment().await.is_empty() => return Ok(group),
            _ => {}
        }
    }
}

/// On a connection of its own.
async fn producer(bootstrap: &str, id: &str) -> Result<TransactionalProducer> {
    Ok(Kafka::builder(bootstrap).connect().await?.producer().build_transactional(id).await?)
}

async fn transact(
    producer: &TransactionalProducer,
    topic: &str,
    value: &str,
    offset: Option<(&ConsumerGroupMetadata, i64)>,
    commit: bool,
) -> Result<()> {
    producer.begin()?;
    let _ = producer.send(record(topic, value)).await?;
    if let Some((group, offset)) = offset {
        producer.send_offsets(&[TopicPartitionOffset::new(topic, 0, offset)], group).await?;
    }
    if commit {
        producer.commit().await?
    } else {
        producer.abort().await?
    }
    Ok(())
}

fn record(topic: &str, value: &str) -> Record {
    Record::new(topic, value.to_owned()).partition(0)
}
