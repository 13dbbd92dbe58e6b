//! The bench program, as who types its name gets it.

use std::process::{Command, Output};

/// What it answers, with everything switched on that could make an answer longer.
fn call(args: &[&str]) -> Output {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_moa-bench"));
    let dir = env!("CARGO_TARGET_TMPDIR");
    bench.args(args).current_dir(dir).env("RUST_BACKTRACE", "full");
    bench.output().expect("it can be started")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn it_says_what_can_be_asked_for() {
    for ask in ["--help", "-h"] {
        let said = call(&["--quick", ask]);
        assert_eq!((said.status.code(), text(&said.stderr)), (Some(0), ""));
        let help = text(&said.stdout);
        for part in ["--only IDS", "--json", "--quick", "--dir DIR", "Examples:", "  B16  "] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }
}

#[test]
fn wrong_options_are_told_in_a_line() {
    let wrong = [
        (
            &["--fast"][..],
            "unknown option \"--fast\"; there are --only IDS, --json, --quick, --dir DIR, --help",
        ),
        (&["--dir"], "--dir needs a value"),
        (&["--only", "B1,b99"], "there is no bench \"B99\"; there are B1, B2, B3, "),
    ];
    for (args, why) in wrong {
        let said = call(args);
        assert_eq!((said.status.code(), text(&said.stdout)), (Some(2), ""), "{args:?}");
        let line = text(&said.stderr);
        assert!(line.starts_with(&format!("moa-bench: {why}")), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
