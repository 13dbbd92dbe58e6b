use moa_sim::{Options, simulate};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

#[test]
fn scratch() {
    let from = number("MOA_SIM_FROM").unwrap_or(0);
    let count = number("MOA_SIM_SEEDS").unwrap_or(100);
    let mut kinds: std::collections::BTreeMap<String, (u64, u64)> = Default::default();
    let start = std::time::Instant::now();
    let (mut events, mut runs, mut execs) = (0, 0, 0);
    for seed in from..from + count {
        let report = simulate(&Options { seed, events: 2000, plant: None, trace: false });
        events += report.events;
        runs += report.runs;
        execs += report.executions;
        if let Some(failure) = report.failure {
            let text: String = failure.chars().filter(|c| !c.is_ascii_digit()).take(700).collect();
            let short: String =
                text.split(", by").next().unwrap_or("").chars().rev().take(110).collect();
            let entry = kinds.entry(short.chars().rev().collect()).or_insert((0, seed));
            entry.0 += 1;
        }
    }
    let time = start.elapsed().as_secs_f64();
    eprintln!(
        "{count} seeds {events} events {runs} runs {execs} execs in {time:.2}s = {:.0} events/s",
        events as f64 / time
    );
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|k| std::cmp::Reverse(k.1.0));
    for (kind, (count, seed)) in kinds {
        eprintln!("{count:>4} seed {seed:<5} {kind}");
    }
}

#[test]
#[ignore = "asked for by hand"]
fn replay() {
    let seed = number("MOA_SIM_SEED").expect("MOA_SIM_SEED says which seed");
    let report = simulate(&Options { seed, events: 2000, plant: None, trace: true });
    println!("{}", report.trace);
    println!("{:?}", report.failure);
}
