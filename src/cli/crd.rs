//! `deskrun crd`: the custom resource definition that an operator needs in its cluster.

use std::io::Write;

use super::{ExitCode, Printer};
use crate::crd::definition;
use crate::yaml;

pub(super) fn run(printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
    printer.data(&yaml::write(&definition()))?;
    Ok(0)
}
