//! What the suites share. Each suite uses a part of it.
#![allow(dead_code)]

pub mod checker;
pub mod command;
pub mod golden;
pub mod pipeline;
pub mod simulated;
