//! nixbox: parse, run, exit code.

use std::env;
use std::future::pending;
use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nixbox::cli::{self, Cli, Command, DiffArgs, EXAMPLES, HookAction, HookArgs, MatrixArgs, SchemaOf, TryArgs};
use nixbox::event::Events;
use nixbox::failure::Failure;
use nixbox::interrupt::Interrupt;
use nixbox::model::Exit;
use nixbox::model::timeouts::HARD_STOP_LIMIT;
use nixbox::report::display::{Mode, ProgressDisplay};
use nixbox::report::{json, output};
use nixbox::run::Outcome;

fn main() -> ExitCode {
    // A jail's supervisor is this program again: it must fork before there are threads.
    nixbox::machine::jail::maybe_enter();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no error; usage errors are exit 2 (clap's own).
            let _closed_pipe = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
            let agent = cli::hook_agent(env::args_os().skip(1)).filter(|_| error.use_stderr());
            return agent.map_or(code, cli::hook_usage_exit).into();
        }
    };
    // The exit code is an API: a bug of ours is "could not tell", not Rust's 101.
    match catch_unwind(AssertUnwindSafe(|| dispatch(cli.command))) {
        Ok(Ok(code)) => code.into(),
        Ok(Err(failure)) => print_error(&failure),
        Err(_) => print_error(&Failure::host("nixbox crashed: this is a bug in nixbox, not in your configuration")),
    }
}

/// The error that ended it, on stderr.
fn print_error(failure: &Failure) -> ExitCode {
    output::message(&format!("error: {}\n", nixbox::text::escape(&failure.to_string())));
    failure.exit.code().into()
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Try(arguments) if arguments.list_checks => print(&nixbox::checks::explain::table()),
        Command::Try(arguments) => {
            let arguments = arguments.with_file();
            try_(&arguments, async |events, interrupt| nixbox::run::try_(&arguments, events, interrupt).await)
        }
        Command::Demo(arguments) => {
            try_(&arguments.run(), async |events, interrupt| nixbox::run::demo(&arguments, events, interrupt).await)
        }
        Command::Diff(arguments) => diff(&arguments),
        Command::Matrix(arguments) if arguments.list => {
            let format = arguments.list_format()?;
            print(&runtime()?.block_on(nixbox::fleet::list(&arguments, format))?)
        }
        Command::Matrix(arguments) => matrix(&arguments),
        Command::Init(arguments) => {
            let mut ask = output::ask;
            let is_interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
            print(&nixbox::init::init(&arguments, if is_interactive { Some(&mut ask) } else { None })?)
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
            SchemaOf::Diff => nixbox::diff::schema(),
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

/// The stack of a thread, in bytes: as much as the main thread's, since a run goes on in either. Only what is used takes
/// memory.
const STACK: usize = 8 << 20;

/// Two workers: one may be busy with a flood from the guest while the other goes on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|error| Failure::host("no threads could be started").because(error))
}

/// A run from the first event to the report: display, signals, artifacts, report, exit code.
fn try_(arguments: &TryArgs, run: impl AsyncFnOnce(Events, Interrupt) -> Outcome) -> Result<u8, Failure> {
    output::check_files(&arguments.report.files)?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let (agent, with_stdin) = (arguments.for_agent, arguments.with_stdin);
        let agent_gone = async move {
            let hook_gone =
                async { if with_stdin { nixbox::agent::parent_watch::hook_gone().await } else { pending().await } };
            match agent {
                Some(pid) => tokio::select! {
                    () = nixbox::agent::parent_watch::gone(pid) => {}
                    () = hook_gone => {}
                },
                None => pending().await,
            }
        };
        let interrupt = Interrupt::on_signals(agent_gone)
            .map_err(|error| Failure::host("no signal handlers could be installed").because(error))?;
        let (events, receiver) = Events::channel();
        let display = ProgressDisplay::start(receiver, Mode::of_stderr(arguments.report.quiet));
        let outcome = tokio::select! {
            outcome = run(events, interrupt.clone()) => Some(outcome),
            // Dropping the run ends what it started, by the backstops that need no time.
            () = interrupt.hard() => None,
        };
        let recorded = display.finish().await;
        let Some(outcome) = outcome else { return Err(Failure::interrupted()) };
        let report = outcome.finish(recorded);
        let delivery = output::deliver(std::slice::from_ref(&report), arguments.format, &arguments.report.files);
        exit_code(delivery, report.exit)
    });
    // A thread that still reads something must not hold up the end.
    runtime.shutdown_background();
    code
}

/// The exit code, whether the report was delivered or not.
fn exit_code(delivery: Result<(), Failure>, exit: u8) -> Result<u8, Failure> {
    match delivery {
        // A pass whose report got lost is not the pass that was asked for; a failure stays one.
        Err(failure) if exit == Exit::Pass.code() => Err(failure),
        Err(failure) => {
            print_error(&failure);
            Ok(exit)
        }
        Ok(()) => Ok(exit),
    }
}

/// Many runs, from the first event to the report.
fn matrix(arguments: &MatrixArgs) -> Result<u8, Failure> {
    let format = arguments.report_format()?;
    output::check_files(&arguments.report.files)?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let interrupt = Interrupt::on_signals(pending())
            .map_err(|error| Failure::host("no signal handlers could be installed").because(error))?;
        let mode = Mode::of_stderr(arguments.report.quiet);
        let late = async {
            interrupt.hard().await;
            tokio::time::sleep(HARD_STOP_LIMIT).await;
        };
        let matrix = tokio::select! {
            matrix = nixbox::fleet::run(arguments, mode, interrupt.clone()) => matrix,
            () = late => return Err(Failure::interrupted()),
        };
        exit_code(output::deliver_matrix(&matrix, format, &arguments.report.files), matrix.exit)
    });
    // A thread that still reads something must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Two configurations, from the first event to what differs.
fn diff(arguments: &DiffArgs) -> Result<u8, Failure> {
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let interrupt = Interrupt::on_signals(pending())
            .map_err(|error| Failure::host("no signal handlers could be installed").because(error))?;
        let (events, receiver) = Events::channel();
        let display = ProgressDisplay::start(receiver, Mode::of_stderr(arguments.quiet));
        let comparison = Box::pin(interrupt.guard(nixbox::diff::run(&arguments.request(), &events))).await;
        drop(events);
        display.finish().await;
        let comparison = comparison?;
        print(&nixbox::diff::render(&comparison, arguments.format, arguments.full))?;
        Ok(comparison.exit)
    });
    // A thread that still reads something must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Answers a hook: stdout, stderr and exit code are its agent's.
fn answer(arguments: &HookArgs) -> Result<u8, Failure> {
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        let interrupt = Interrupt::on_signals(pending())
            .map_err(|error| Failure::host("no signal handlers could be installed").because(error))?;
        Ok(nixbox::agent::hook::run(arguments, &interrupt).await)
    });
    runtime.shutdown_background();
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            print_error(&failure);
            return Ok(cli::hook_usage_exit(arguments.agent));
        }
    };
    output::to_stderr(&answer.stderr);
    // A closed stdout is no error.
    drop(output::to_stdout(&answer.stdout));
    Ok(answer.exit)
}
