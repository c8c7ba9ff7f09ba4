//! The command line: arguments in, exit code out. One file per command; nothing is decided here.

mod add;
mod cluster;
mod completions;
mod crd;
mod demo;
mod doctor;
mod down;
mod input;
mod installed;
mod list;
mod objects;
mod operator;
mod output;
mod plan;
mod printer;
mod remove;
mod render;
mod resource;
mod run;
mod scale_sets;
mod show;
mod simulator;
mod snapshot;
mod socket;
mod status;
mod up;

use std::io::Write;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

pub use printer::Printer;
pub use run::StandIn;

/// GitHub Actions runners that start warm, on your own metal.
#[derive(Debug, Parser)]
#[command(name = "deskrun", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the manifests of one runner and its companions, exactly as they would be applied
    Render(Box<render::Render>),
    /// Show what would change if files were served now, and which busy runners that would wait for
    Plan(Box<plan::Plan>),
    /// Look what this host or cluster lacks for what files ask for
    Doctor(Box<doctor::Doctor>),
    /// Serve runner scale sets: the controller, standalone
    Run(Box<run::Run>),
    /// Serve the runner scale sets of a cluster: the controller, in a cluster
    Operator(Box<operator::Operator>),
    /// Show the main job end to end on this machine, and leave nothing behind
    Demo(demo::Demo),
    /// Show scale sets, runners, jobs and slots of the running controller, and why something waits
    Status(Box<status::Status>),
    /// Write a scale set into the configuration folder, which `deskrun run` serves; with `-n` or `--context`, into a cluster
    Add(Box<add::Add>),
    /// Show the scale sets of the configuration folder; with `-n` or `--context`, those of a cluster
    List(list::List),
    /// Drain a scale set, delete it at GitHub, then its file; with `-n` or `--context`, its object in a cluster
    Remove(Box<remove::Remove>),
    /// Put the operator and what files ask for into a cluster, and wait until it serves
    Up(Box<up::Up>),
    /// Take the operator and its scale sets out of a cluster, in the order that GitHub needs
    Down(Box<down::Down>),
    /// Play GitHub's side, for trying things out and for tests
    #[command(subcommand)]
    Simulator(simulator::Simulator),
    /// Print the custom resource definition, for `kubectl apply --server-side -f -`
    Crd,
    /// Print completions for a shell, such as `source <(deskrun completions bash)`
    Completions(completions::Completions),
    /// Print the version
    Version,
}

/// How a command ended: 0 done, 1 failed. Wrong usage (2) is clap's.
pub type ExitCode = u8;

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs a command that waits for others.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?.block_on(command)
}

impl Cli {
    /// Runs the command and prints what went wrong; the code says whether anything did.
    pub fn execute(self, printer: &mut Printer<impl Write, impl Write>) -> ExitCode {
        match self.run(printer) {
            Ok(code) => code,
            // Whoever read our output has seen enough, as in `deskrun render … | head`.
            Err(error) if is_broken_pipe(&error) => 0,
            Err(error) => {
                let hint = render::hint(&error);
                // Where even stderr is closed there is no one left to tell.
                let _ = printer.error(error.as_ref(), hint.as_deref());
                1
            }
        }
    }

    fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Render(render) => render.run(printer),
            Command::Plan(plan) => block_on(plan.run(printer)),
            Command::Doctor(doctor) => block_on(doctor.run(printer)),
            Command::Run(run) => block_on(run.run(printer)),
            Command::Operator(operator) => block_on(operator.run()),
            Command::Demo(demo) => block_on(demo.run(printer)),
            Command::Status(status) => block_on(status.run(printer)),
            Command::Add(add) => block_on(add.run(printer)),
            Command::List(list) => block_on(list.run(printer)),
            Command::Remove(remove) => block_on(remove.run(printer)),
            Command::Up(up) => block_on(up.run(printer)),
            Command::Down(down) => block_on(down.run(printer)),
            Command::Simulator(simulator) => simulator.run(printer),
            Command::Crd => crd::run(printer),
            Command::Completions(completions) => completions.run(printer),
            Command::Version => {
                printer.data(&format!("{}\n", Cli::command().render_version().trim_end()))?;
                Ok(0)
            }
        }
    }
}
