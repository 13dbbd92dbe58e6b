//! What the end of a program means.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use moa_ports::agent::TaskError;

use super::Invocation;

/// EX_TEMPFAIL of sysexits.h: "later".
const LATER: i32 = 75;

/// Codes that mean "never": a shell's usage error, sysexits.h but for [`LATER`], and a shell's codes
/// for a program that can't be run or isn't there.
fn is_never(code: i32) -> bool {
    matches!(code, 2 | 64..=74 | 76..=78 | 126 | 127)
}

/// Judges how a program ended; `last_words` is what it said last, for people.
pub(super) fn judge(
    status: ExitStatus,
    invocation: &Invocation,
    last_words: &str,
) -> Result<(), TaskError> {
    let said = match last_words {
        "" => String::new(),
        words => format!(": {words}"),
    };
    let Some(code) = status.code() else {
        // It may have done its work before it died: only for a `once` action does that matter.
        let signal = status.signal().unwrap_or_default();
        return Err(TaskError::Unknown(format!("killed by {}{said}", signal_name(signal))));
    };
    if code == 0 {
        return Ok(());
    }
    let meaning = match code {
        126 if said.is_empty() => " (the program can't be run)",
        127 if said.is_empty() => " (the program was not found)",
        _ => "",
    };
    let message = format!("exit code {code}{meaning}{said}");
    let retry = code == LATER || invocation.retry_exit_codes.contains(&code);
    let never = is_never(code) && !retry || invocation.permanent_exit_codes.contains(&code);
    Err(if never { TaskError::Permanent(message) } else { TaskError::Retryable(message) })
}

fn signal_name(signal: i32) -> String {
    let (name, hint) = match signal {
        1 => ("SIGHUP", ""),
        2 => ("SIGINT", ""),
        3 => ("SIGQUIT", ""),
        4 => ("SIGILL", ""),
        6 => ("SIGABRT", ""),
        7 => ("SIGBUS", ""),
        8 => ("SIGFPE", ""),
        9 => ("SIGKILL", " (by hand, or for want of memory)"),
        11 => ("SIGSEGV", ""),
        13 => ("SIGPIPE", ""),
        14 => ("SIGALRM", ""),
        15 => ("SIGTERM", ""),
        24 => ("SIGXCPU", " (its limit on processor time)"),
        25 => ("SIGXFSZ", " (its limit on the size of a file)"),
        31 => ("SIGSYS", ""),
        _ => return format!("signal {signal}"),
    };
    format!("{name}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation() -> Invocation {
        Invocation {
            argv: Vec::new(),
            cwd: None,
            retry_exit_codes: vec![2, 70],
            permanent_exit_codes: vec![1, 70],
            grace: moa_core::time::Span::seconds(1),
            limits: Default::default(),
            extra: Vec::new(),
            strict: true,
        }
    }

    #[test]
    fn codes_and_signals_have_their_classes() {
        let class = |raw: i32| match judge(ExitStatus::from_raw(raw), &invocation(), "") {
            Ok(()) => "success",
            Err(TaskError::Retryable(_)) => "retry",
            Err(TaskError::Permanent(_)) => "never",
            Err(TaskError::Unknown(_)) => "unknown",
            Err(_) => "other",
        };
        let expected = [
            (0, "success"),
            (1, "never"), // by the agent's own list
            (2, "retry"), // by the agent's own list
            (3, "retry"),
            (64, "never"),
            (70, "never"), // in both lists
            (75, "retry"),
            (78, "never"),
            (79, "retry"),
            (126, "never"),
            (127, "never"),
            (139, "retry"),
        ];
        for (code, class_of) in expected {
            assert_eq!(class(code << 8), class_of, "exit code {code}");
        }
        assert_eq!(class(11), "unknown", "a signal");
        let error = judge(ExitStatus::from_raw(11), &invocation(), "oh").expect_err("a failure");
        assert_eq!(error.to_string(), "killed by SIGSEGV: oh");
    }
}
