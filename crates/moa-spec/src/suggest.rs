//! Did you mean …?

/// Words of other systems, and what they are called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("needs", "depends_on"),
    ("depends", "depends_on"),
    ("dependencies", "depends_on"),
    ("requires", "depends_on"),
    ("after", "depends_on"),
    ("if", "condition"),
    ("when", "condition"),
    ("uses", "agent"),
    ("agent_name", "agent"),
    ("with", "params"),
    ("args", "params"),
    ("arguments", "params"),
    ("inputs", "params"),
    ("input", "params"),
    ("script", "run"),
    ("shell", "run"),
    ("command", "run"),
    ("cmd", "run"),
    ("continue_on_error", "continue"),
    ("continue_on_failure", "continue"),
    ("continueOnError", "continue"),
    ("allow_failure", "continue"),
    ("timeout_seconds", "timeout"),
    ("timeout_minutes", "timeout"),
    ("timeoutSeconds", "timeout"),
    ("retries", "retry"),
    ("retry_policy", "retry"),
    ("for_each", "foreach"),
    ("loop", "foreach"),
    ("matrix", "foreach"),
    ("items", "in"),
    ("var", "as"),
    ("iff", "condition"),
    ("as_", "as"),
    ("attempts", "max_attempts"),
    ("max_retry", "max_retries"),
    ("limit", "max_attempts"),
    ("initial_delay", "delay"),
    ("interval", "delay"),
    ("subworkflow", "workflow"),
    ("call", "workflow"),
    ("jobs", "steps"),
    ("tasks", "steps"),
    ("stages", "steps"),
    ("cron", "schedule"),
    ("triggers", "on"),
    ("variables", "vars"),
    ("title", "name"),
    ("parameters", "params"),
    ("return", "outputs"),
    ("output", "outputs"),
    ("approval", "approve"),
    ("signal", "wait_for"),
    ("delay", "sleep"),
    ("cwd", "cwd"),
    ("workdir", "cwd"),
    ("working_directory", "cwd"),
    ("environment", "env"),
    ("url", "url"),
    ("endpoint", "url"),
    ("endpoints", "urls"),
    ("tz", "timezone"),
    ("time_zone", "timezone"),
    ("zone", "timezone"),
    ("interval", "every"),
    ("catchup", "catch_up"),
    ("start_date", "window"),
    ("end_date", "window"),
    ("start", "from"),
    ("end", "until"),
    ("to", "until"),
    ("start_deadline", "max_lateness"),
    ("starting_deadline_seconds", "max_lateness"),
    ("concurrency_policy", "overlap"),
    ("overlap_policy", "overlap"),
    ("holidays", "exclude"),
    ("suspend", "enabled"),
    ("forbid", "skip"),
    ("replace", "cancel_running"),
    ("queue", "buffer_all"),
    ("buffer", "buffer_one"),
    ("cancel", "cancel_running"),
    ("terminate", "terminate_running"),
];

/// The known word that is probably meant by `word`, if one is near enough.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let plain = |w: &str| w.to_lowercase().replace(['-', ' '], "_");
    let meant = plain(word);
    if let Some(same) = known.iter().find(|k| plain(k) == meant) {
        return Some(same);
    }
    let elsewhere = ELSEWHERE.iter().filter(|(w, _)| *w == word || *w == meant);
    for (_, here) in elsewhere {
        if let Some(found) = known.iter().find(|k| *k == here) {
            return Some(found);
        }
    }
    if meant.chars().count() > 64 {
        return None;
    }
    let room = (meant.chars().count() / 3).max(1);
    let scored = known.iter().filter(|k| k.len() <= 64).map(|k| (distance(&meant, &plain(k)), *k));
    scored
        .filter(|(d, k)| *d <= room && *d < k.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["depends_on", "agent", "params", "condition"];
        assert_eq!(nearest("dependson", known), Some("depends_on"));
        assert_eq!(nearest("depends-on", known), Some("depends_on"));
        assert_eq!(nearest("agnet", known), Some("agent"));
        assert_eq!(nearest("if", known), Some("condition"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
