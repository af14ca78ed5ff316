//! Ottla: a Kafka-wire-compatible broker in one binary.

pub mod model;
pub mod env;
pub mod telemetry;
pub mod config;
pub mod record;
pub mod log;
pub mod wire;
pub mod client;
pub mod cluster;
pub mod replica;
pub mod coordinator;
pub mod group;
pub mod txn;
pub mod controller;
pub mod api;
pub mod net;
pub mod admin;
pub mod broker;
pub mod dev;
pub mod cli;

#[cfg(test)]
mod architecture;
