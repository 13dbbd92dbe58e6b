//! The numbers of moa: durable steps a second, latency, memory, disk.
//!
//! Run by `cargo xtask bench`. Each bench works on a fresh store on a real disk with fsync on,
//! through the same engine, store and agents as the product, and says beside its figure what this
//! machine's disk did at that moment: a figure without its limit says nothing on a shared machine.
//! Absent: micro-benches. Start reading at [`BENCHES`].

mod fanout;
mod finish;
mod latency;
mod limits;
mod machine;
mod node;
mod options;
mod plans;
mod report;
mod retention;
mod schedules;
mod served;
mod spawn;
mod throughput;
mod waiting;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};
use options::{Asked, Options};
use report::{Figure, Report};

/// The allocator of the product: see `memory.rs` of the crate `moa`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bench: its id, what it measures, how.
type Bench = (&'static str, &'static str, Measure);
/// Measures.
type Measure = fn(&Options) -> Result<Figure>;

const BENCHES: &[Bench] = &[
    ("B1", "durable steps: many runs of 10 no-op steps", throughput::fresh),
    ("B2", "a run of 3 steps, one at a time", latency::one_at_a_time),
    ("B3", "one run of parallel steps", fanout::parallel),
    ("B4", "waiting runs", waiting::start),
    ("B5", "`moa up` with nothing to do", node::idle),
    ("B6", "`command` attempts of /bin/true", spawn::attempts),
    ("B7", "B1 on a store with 1,000,000 finished steps", throughput::full),
    ("B8", "restart with 100,000 open runs", waiting::restart),
    ("B9", "one run of 100,000 steps", fanout::long),
    ("B10", "1,000,000 schedules", schedules::many),
    ("B11", "limit checks, and B1 with limits", limits::checks),
    ("B12", "B1 while all that ends is deleted", retention::beside),
    ("B13", "reads of the API while the engine is busy", served::reads),
    ("B14", "1,000 WebSockets at 1,000 events a second", served::fan_out),
    ("B15", "a busy engine with the dashboard open", served::dashboard_open),
    ("B16", "pages over a store with 1,000,000 finished steps", served::pages),
];

fn main() -> Result<ExitCode> {
    match Options::read(std::env::args().skip(1)) {
        Ok(Asked::Help) => print!("{}", options::help()),
        Ok(Asked::Measure(options)) => {
            if !measure(&options)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Err(wrong) => {
            eprintln!("moa-bench: {wrong}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers whether none failed: what the others have measured is told.
fn measure(options: &Options) -> Result<bool> {
    std::fs::create_dir_all(&options.dir).context("the bench folder")?;
    let (mut report, mut all) = (Report::default(), true);
    for (id, what, bench) in BENCHES.iter().filter(|(id, ..)| options.wants(id)) {
        eprintln!("{id}: {what} …");
        match beside_the_disk(options, *bench) {
            Ok(figure) => {
                eprintln!("{id}: {figure}");
                report.add(id, what, figure);
            }
            Err(error) => {
                eprintln!("{id}: failed: {error:#}");
                all = false;
            }
        }
    }
    let _ = std::fs::remove_dir(&options.dir);
    println!("{}", if options.json { report.json()? } else { report.table() });
    Ok(all)
}

/// The figure of a bench, and what the disk could do before and after it.
fn beside_the_disk(options: &Options, bench: Measure) -> Result<Figure> {
    let before = machine::fdatasyncs_per_second(&options.dir)?;
    let mut figure = bench(options)?;
    let after = machine::fdatasyncs_per_second(&options.dir)?;
    figure.note("fdatasync_per_s_before", before);
    figure.note("fdatasync_per_s_after", after);
    Ok(figure)
}
