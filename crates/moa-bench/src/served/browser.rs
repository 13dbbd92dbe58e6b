//! B15: what it costs the engine that somebody has the dashboard open.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use super::client::Client;
use super::load::rate;
use super::node::Served;
use super::runtime;
use crate::options::Options;
use crate::report::Figure;

/// Pages that are open, each in a tab that is seen.
const TABS: [&str; 3] = ["/dashboard", "/runs", "/events"];
/// How often the script of a page looks whether something has changed.
const LOOK: Duration = Duration::from_secs(1);

/// Rounds, each with and without: a disk makes one differ from another by some per cent.
const ROUNDS: usize = 10;

/// Steps a second with the dashboard open, as a share of those without; rounds of both in turn.
pub fn open(options: &Options) -> Result<Figure> {
    let node = Served::start(options, "b15")?;
    let operators = node.tokens("operator", 4)?;
    let viewer = node.tokens("viewer", 1)?.remove(0);
    let runs = options.size(200, 8);
    let runtime = runtime()?;
    let (mut closed, mut opened) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        // The first round also fills what is kept in memory.
        rate(&node.address, &operators, runs).await?;
        for round in 0..options.size(ROUNDS, 1) {
            // A store that grows is slower each time: each comes first as often as the other.
            for with_tabs in [round % 2 == 1, round % 2 == 0] {
                let pages = if with_tabs { &TABS[..] } else { &[] };
                let tabs: Vec<_> =
                    pages.iter().map(|path| tab(&node.address, &viewer, path)).collect();
                let steps = rate(&node.address, &operators, runs).await?;
                if with_tabs { &mut opened } else { &mut closed }.push(steps);
                for tab in tabs {
                    tab.abort();
                    if let Ok(ended) = tab.await {
                        ended?;
                    }
                }
            }
        }
        anyhow::Ok(())
    })?;
    node.stop()?;
    // What a moment of the disk does to one of a round it does to the other.
    let shares = opened.iter().zip(&closed).map(|(open, closed)| open / closed * 100.0).collect();
    let mut figure = Figure::median(shares, "% of steps/s without", "> 97 %");
    figure.note("steps_per_s_open", Figure::median(opened, "", "").value());
    figure.note("steps_per_s_closed", Figure::median(closed, "", "").value());
    figure.note("tabs", TABS.len() as f64);
    Ok(figure)
}

/// Does what the script of a page does, until it is aborted.
fn tab(address: &str, token: &str, path: &'static str) -> JoinHandle<Result<()>> {
    let (address, token) = (address.to_owned(), token.to_owned());
    tokio::spawn(async move {
        let mut client = Client::connect(&address).await?;
        let mut shown = String::new();
        loop {
            let mark = client.json(&token, "/live").await?;
            let now = mark["now"].as_str().context("no mark")?;
            if now != shown {
                client.get(&token, path).await?;
                now.clone_into(&mut shown);
            }
            tokio::time::sleep(LOOK).await;
        }
    })
}
