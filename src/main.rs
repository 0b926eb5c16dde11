//! nixbox: parse, run, exit code.

use std::env;
use std::future::pending;
use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nixbox::cli::{self, Cli, Command, EXAMPLES, HookAction, HookArgs, MatrixArgs, SchemaOf, TryArgs};
use nixbox::event::Events;
use nixbox::failure::Failure;
use nixbox::interrupt::Interrupt;
use nixbox::model::Exit;
use nixbox::model::timeouts::HARD_STOP_LIMIT;
use nixbox::report::display::{Display, Mode};
use nixbox::report::{json, output};
use nixbox::run::Outcome;

fn main() -> ExitCode {
    // A jail's supervisor is this program again: it must fork before there are threads.
    nixbox::machine::jail::maybe_enter();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help is asked for, and a pipe that nobody reads is no error; usage errors are exit 2 (clap's own).
            let _nobody_reads = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
            let agent = cli::calling(env::args_os().skip(1)).filter(|_| error.use_stderr());
            return agent.map_or(code, cli::misused).into();
        }
    };
    // The exit code is an API: a bug of ours is "could not tell", not Rust's 101.
    match catch_unwind(AssertUnwindSafe(|| dispatch(cli.command))) {
        Ok(Ok(code)) => code.into(),
        Ok(Err(failure)) => tell(&failure),
        Err(_) => tell(&Failure::host("nixbox broke: this is a bug of ours, not your configuration's")),
    }
}

/// Says why nothing else is said, on stderr.
fn tell(failure: &Failure) -> ExitCode {
    output::tell(&format!("error: {}\n", nixbox::text::escape(&failure.to_string())));
    failure.exit.code().into()
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Try(arguments) if arguments.list_checks => print(&nixbox::checks::explain::table()),
        Command::Try(arguments) => {
            try_(&arguments, async |events, interrupt| nixbox::run::try_(&arguments, events, interrupt).await)
        }
        Command::Demo(arguments) => {
            try_(&arguments.as_try(), async |events, interrupt| nixbox::run::demo(&arguments, events, interrupt).await)
        }
        Command::Matrix(arguments) if arguments.list => {
            let format = arguments.list_format()?;
            print(&runtime()?.block_on(nixbox::fleet::list(&arguments, format))?)
        }
        Command::Matrix(arguments) => matrix(&arguments),
        Command::Init(arguments) => {
            let mut ask = output::ask;
            let somebody = io::stdin().is_terminal() && io::stderr().is_terminal();
            print(&nixbox::init::init(&arguments, if somebody { Some(&mut ask) } else { None })?)
        }
        Command::Hook(hook) => match (&hook.action, hook.call()) {
            (Some(HookAction::Install(arguments)), _) => print(&nixbox::agent::install::install(arguments)?),
            (None, Some(arguments)) => answer(&arguments),
            (None, None) => Err(Failure::usage("whose hook? `nixbox hook --help` lists them")),
        },
        Command::AgentGuide => print(nixbox::agent::guide::GUIDE),
        Command::Explain(arguments) => print(&nixbox::checks::explain::explain(arguments.check.as_deref())?),
        Command::Doctor(arguments) => runtime()?.block_on(nixbox::doctor::run(&arguments)),
        Command::Clean(arguments) => print(&nixbox::clean::clean(arguments.dry_run)?),
        Command::Schema(arguments) => print(&match arguments.of {
            SchemaOf::Config => json::pretty(&nixbox::config::schema()),
            SchemaOf::Report => json::schema(),
            SchemaOf::Matrix => nixbox::report::matrix::schema(),
        }),
        Command::Completions(arguments) => {
            let mut script = Vec::new();
            clap_complete::generate(arguments.shell, &mut Cli::command(), "nixbox", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Man => {
            let page = nixbox::manual::page(Cli::command(), EXAMPLES);
            print(&page.map_err(|error| Failure::host("the manual page could not be made").because(error))?)
        }
    }
}

fn print(text: &str) -> Result<u8, Failure> {
    output::to_stdout(text).map_err(|error| Failure::host("stdout cannot be written to").because(error))?;
    Ok(Exit::Pass.code())
}

/// What a thread may take of the stack, in bytes: as much as the main thread, since a run goes on in either. Only what is
/// used takes memory.
const STACK: usize = 8 << 20;

/// Two workers: one may be busy with a flood from the guest while the other goes on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|error| Failure::host("no threads to run on").because(error))
}

/// A run from the first event to the report: display, signals, artifacts, report, exit code.
fn try_(arguments: &TryArgs, run: impl AsyncFnOnce(Events, Interrupt) -> Outcome) -> Result<u8, Failure> {
    output::check_files(&arguments.report)?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let agent = arguments.for_agent;
        let agent_gone = async move {
            match agent {
                Some(pid) => nixbox::agent::parent_watch::gone(pid).await,
                None => pending().await,
            }
        };
        let interrupt = Interrupt::on_signals(agent_gone)
            .map_err(|error| Failure::host("signals cannot be listened to").because(error))?;
        let (events, receiver) = Events::channel();
        let display = Display::start(receiver, Mode::of_stderr(arguments.quiet));
        let outcome = tokio::select! {
            outcome = run(events, interrupt.clone()) => Some(outcome),
            // Dropping the run ends what it started, by the backstops that need no time.
            () = interrupt.hard() => None,
        };
        let recorded = display.finish().await;
        let Some(outcome) = outcome else { return Err(Failure::interrupted()) };
        let report = outcome.finish(recorded);
        let told = output::deliver(std::slice::from_ref(&report), arguments.format, &arguments.report);
        delivered(told, report.exit)
    });
    // A thread that still reads something must not hold up the end.
    runtime.shutdown_background();
    code
}

/// The exit code, once the report was delivered or not.
fn delivered(delivered: Result<(), Failure>, exit: u8) -> Result<u8, Failure> {
    match delivered {
        // A pass whose report got lost is not the pass that was asked for; a failure stays one.
        Err(failure) if exit == Exit::Pass.code() => Err(failure),
        Err(failure) => {
            tell(&failure);
            Ok(exit)
        }
        Ok(()) => Ok(exit),
    }
}

/// Many runs, from the first event to the report.
fn matrix(arguments: &MatrixArgs) -> Result<u8, Failure> {
    let format = arguments.report_format()?;
    output::check_files(&arguments.report)?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let interrupt = Interrupt::on_signals(pending())
            .map_err(|error| Failure::host("signals cannot be listened to").because(error))?;
        let mode = Mode::of_stderr(arguments.quiet);
        let late = async {
            interrupt.hard().await;
            tokio::time::sleep(HARD_STOP_LIMIT).await;
        };
        let matrix = tokio::select! {
            matrix = nixbox::fleet::run(arguments, mode, interrupt.clone()) => matrix,
            () = late => return Err(Failure::interrupted()),
        };
        delivered(output::deliver_matrix(&matrix, format, &arguments.report), matrix.exit)
    });
    // A thread that still reads something must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Answers a hook: stdout, stderr and exit code are its agent's.
fn answer(arguments: &HookArgs) -> Result<u8, Failure> {
    let runtime = runtime()?;
    let spoken = runtime.block_on(async {
        let interrupt = Interrupt::on_signals(pending())
            .map_err(|error| Failure::host("signals cannot be listened to").because(error))?;
        Ok(nixbox::agent::hook::run(arguments, &interrupt).await)
    });
    runtime.shutdown_background();
    let spoken = match spoken {
        Ok(spoken) => spoken,
        Err(failure) => {
            tell(&failure);
            return Ok(cli::misused(arguments.agent));
        }
    };
    output::to_stderr(&spoken.stderr);
    // Who does not read it does not want to know.
    drop(output::to_stdout(&spoken.stdout));
    Ok(spoken.exit)
}
