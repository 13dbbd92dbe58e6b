//! Agent files: one agent (its id is the file's stem), or several under `agents:`.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::{ActionSpec, AgentKind, AgentSpec, CommandSpec, HttpSpec, ProcessLimits};
use moa_core::ids::Name;
use moa_core::limits::OUTPUT_BYTES_MAX;
use moa_core::template::Template;
use moa_core::time::Span;
use serde_json::Value as Json;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::lower::{agent_limits, check_schema, env_entry, retry_policy};
use crate::model::agent::{
    Actions, AgentFile, AgentsFile, Command, CommandFile, HttpFile, LimitsFile, Listed, ShellFile,
};
use crate::read::{At, Cx, Field};
use crate::scalar::{Duration, Entries, Raw, Short, Tmpl, name};
use crate::shell_words;
use crate::source::Source;
use crate::suggest::nearest;
use crate::yaml::{self, Data, Node};

/// How long a process has between SIGTERM and SIGKILL when its agent doesn't say.
const GRACE: Span = Span::seconds(10);
/// Longest Retry-After that is respected when the agent doesn't say.
const RETRY_AFTER_MAX: Span = Span::minutes(60);

/// Reads an agent file and reports all its mistakes, ordered by place. Agents without errors are
/// given even when others of the file have some.
pub fn parse_agents(source: &Source, stem: &Name) -> (Vec<AgentSpec>, Vec<Diagnostic>) {
    let mut cx = Cx::new(source);
    let specs = read(stem, &mut cx);
    (specs, cx.finish())
}

/// Reads the agents of a file.
pub(crate) fn read(stem: &Name, cx: &mut Cx) -> Vec<AgentSpec> {
    let mut specs = Vec::new();
    if let Some(root) = yaml::parse(cx) {
        if root.get("agents").is_some() {
            several(&root, &mut specs, cx);
        } else {
            one(&root, stem, &mut specs, cx);
        }
    }
    specs
}

/// What is to be said of a file whose workflow, or one of whose agents, stands in the file `first`
/// already. It points to where the id stands, or else to the beginning.
pub fn stands_twice(source: &Source, id: &Name, first: &str) -> Diagnostic {
    let root = yaml::parse(&mut Cx::new(source));
    let listed = root.as_ref().and_then(|root| root.get("agents")).map(|agents| &agents.data);
    let key = match listed {
        Some(Data::Map(entries)) => entries.iter().find(|(key, _)| key.text == id.as_str()),
        _ => None,
    };
    let first_line = 0..source.text.lines().next().map_or(0, str::len);
    let span = key.map_or(first_line, |(key, _)| key.span.clone());
    let mut cx = Cx::new(source);
    let d = cx.error(codes::STANDS_TWICE, span, format!("`{id}` stands in {first} already"));
    d.help("remove one of the two, or give it another name");
    d.clone()
}

fn one(node: &Arc<Node>, id: &Name, specs: &mut Vec<AgentSpec>, cx: &mut Cx) {
    let errors = cx.errors();
    let Some(file) = AgentFile::read(node, cx) else { return };
    if let Some(given) = file.id.as_ref().filter(|given| given.value.0 != *id) {
        let message = format!("the agent's id is `{id}`, not `{}`", given.value.0);
        let d = cx.error(codes::MISFIT, given.span.clone(), message);
        d.cause("an agent's id is its file's name, or the key that it stands under");
        d.help("take `id` out, or rename the file");
    }
    let spec = spec(&file, id, cx);
    specs.extend(spec.filter(|_| cx.errors() == errors));
}

fn several(root: &Arc<Node>, specs: &mut Vec<AgentSpec>, cx: &mut Cx) {
    let Some(file) = AgentsFile::read(root, cx) else { return };
    let mut seen: BTreeMap<Name, u32> = BTreeMap::new();
    for Listed { id, node } in &file.agents.0 {
        let Some(id) =
            name(&id.value, id.span.clone(), cx).map(|n| At { value: n, span: id.span.clone() })
        else {
            continue;
        };
        let line = cx.line(id.span.start);
        if let Some(first) = seen.insert(id.value.clone(), line) {
            let message = format!("two agents have the id `{}`", id.value);
            let d = cx.error(codes::DUPLICATE_KEY, id.span.clone(), message);
            d.cause(format!("the one on line {first} has it already"));
        }
        one(node, &id.value, specs, cx);
    }
}

fn spec(file: &AgentFile, id: &Name, cx: &mut Cx) -> Option<AgentSpec> {
    if let Some(zero) = file.concurrency.as_ref().filter(|c| c.value == 0) {
        let message = "with a concurrency of 0 it would never be asked".into();
        cx.error(codes::WRONG_VALUE, zero.span.clone(), message).help("write 1 or more");
    }
    let text = |label: &Option<At<crate::scalar::Label>>| label.as_ref().map(|l| l.value.0.clone());
    let labels = file.labels.iter().flat_map(|l| &l.0);
    let actions = actions(file.actions.as_ref(), cx);
    let env = env(file.env.as_ref(), cx);
    let retry = retry_policy(&[file.retry.as_ref()], cx);
    let kind = kind(file, cx);
    Some(AgentSpec {
        id: id.clone(),
        name: text(&file.name),
        description: text(&file.description),
        tier: file.tier.as_ref().map(|t| t.value),
        labels: labels.map(|(k, v)| (k.value.clone(), v.0.clone())).collect(),
        actions,
        concurrency: file.concurrency.as_ref().map(|c| c.value),
        limits: agent_limits(file, cx),
        retry,
        timeout: file.timeout.as_ref().map(|t| t.value.0),
        once: file.once.as_ref().is_some_and(|o| o.value),
        env,
        kind: kind?,
    })
}

fn actions(actions: Option<&Actions>, cx: &mut Cx) -> BTreeMap<String, ActionSpec> {
    let mut specs = BTreeMap::new();
    let entries = actions.iter().flat_map(|a| &a.0.0);
    for (key, file) in entries.clone() {
        if name(&key.value, key.span.clone(), cx).is_none() {
            continue;
        }
        let Some(file) = file else {
            specs.insert(key.value.clone(), ActionSpec::default());
            continue;
        };
        for schema in [&file.params, &file.output].into_iter().flatten() {
            check_schema(schema, cx);
        }
        if let Some(check) = &file.check {
            let names = || entries.clone().map(|(key, _)| key.value.as_str());
            if !names().any(|name| name == check.value) {
                let message = format!("there is no action `{}`", check.value);
                let d = cx.error(codes::UNKNOWN_ACTION, check.span.clone(), message);
                d.cause("`check` names the action that tells whether an attempt has happened");
                if let Some(near) = nearest(&check.value, names()) {
                    d.help(format!("did you mean `{near}`?"));
                }
            }
        }
        let schema = |raw: &Option<Raw>| raw.as_ref().map(|raw| raw.json.clone());
        let spec = ActionSpec {
            description: file.description.as_ref().map(|d| d.value.0.clone()),
            params: schema(&file.params),
            output: schema(&file.output),
            once: file.once.as_ref().is_some_and(|o| o.value),
            check: file.check.as_ref().map(|c| c.value.clone()),
            timeout: file.timeout.as_ref().map(|t| t.value.0),
        };
        specs.insert(key.value.clone(), spec);
    }
    specs
}

/// Reports names that don't exist where an agent's templates are evaluated.
fn check_uses(template: &Tmpl, cx: &mut Cx) {
    for one in &template.uses {
        let root = one.path.first().map_or("", String::as_str);
        if let ("secrets", Some(name)) = (root, one.path.get(1)) {
            cx.secrets.push(At { value: name.clone(), span: one.span.clone() });
        }
        if matches!(root, "params" | "run" | "secrets" | "vars") {
            continue;
        }
        let message = format!("`{root}` is not known to an agent");
        let d = cx.error(codes::UNKNOWN_REFERENCE, one.span.clone(), message);
        d.cause("an agent serves many workflows").help("use `params`, `run` or `secrets`");
    }
}

fn env(env: Option<&Entries<Tmpl>>, cx: &mut Cx) -> BTreeMap<String, Template> {
    let mut templates = BTreeMap::new();
    for (key, value) in env.iter().flat_map(|env| &env.0) {
        check_uses(value, cx);
        if let Some(json) = env_entry(key, value, cx) {
            let template = Template::compile(&json, true).unwrap_or_default();
            templates.insert(key.value.clone(), template);
        }
    }
    templates
}

fn kind(file: &AgentFile, cx: &mut Cx) -> Option<AgentKind> {
    match (&file.command, &file.http, &file.shell) {
        (Some(command), None, None) => Some(AgentKind::Command(self::command(command, cx)?)),
        (None, Some(http), None) => Some(AgentKind::Http(self::http(http, cx)?)),
        (None, None, Some(shell)) => Some(AgentKind::Command(self::shell(shell, cx))),
        (None, None, None) => {
            // A kind that was given but could not be read has been reported.
            let given = ["command", "http", "shell"].iter().any(|k| file.place.key(k).is_some());
            if !given && !file.place.unknown {
                let start = file.place.span.start;
                let message = "the agent doesn't say how it is reached".into();
                let d = cx.error(codes::BAD_AGENT_KIND, start..start + 1, message);
                d.help("add one of `command:`, `shell:` and `http:`");
            }
            None
        }
        _ => {
            let keys = ["command", "http", "shell"];
            let given: Vec<_> = keys.into_iter().filter(|k| file.place.key(k).is_some()).collect();
            let span = given.get(1).and_then(|k| file.place.key(k)).unwrap_or_default();
            let message = format!("an agent is reached in one way, not by {}", given.join(" and "));
            let d = cx.error(codes::BAD_AGENT_KIND, span, message);
            d.help("keep one of them, or make two agents");
            None
        }
    }
}

fn command(command: &Command, cx: &mut Cx) -> Option<CommandSpec> {
    let file = match command {
        Command::Text(line) => return Some(process(split(line, cx)?, None, cx)),
        Command::List(words) => {
            return Some(process(argv(words, cx)?, None, cx));
        }
        Command::Map(file) => file,
    };
    let argv = match (&file.run, &file.argv) {
        (Some(line), None) => split(line, cx)?,
        (None, Some(words)) => argv(words, cx)?,
        _ => {
            let message = "`command` needs either `run` or `argv`".into();
            let d = cx.error(codes::MISFIT, file.place.span.clone(), message);
            d.help(
                "`run: program arg` is split at spaces; `argv: [program, arg]` is taken as it is",
            );
            return None;
        }
    };
    Some(process(argv, Some(file), cx))
}

/// A process with what its mapping says beside the command line.
fn process(argv: Vec<String>, file: Option<&CommandFile>, cx: &mut Cx) -> CommandSpec {
    let codes = |list: Option<&Vec<At<i32>>>, cx: &mut Cx| {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        for code in list.iter().filter(|code| !(1..=255).contains(&code.value)) {
            let message = format!("{} is not the exit code of a failure", code.value);
            cx.error(codes::WRONG_VALUE, code.span.clone(), message).help("write 1 to 255");
        }
        list.iter().map(|code| code.value).collect::<Vec<_>>()
    };
    let retry = codes(file.and_then(|f| f.retry_exit_codes.as_ref()), cx);
    let permanent = codes(file.and_then(|f| f.permanent_exit_codes.as_ref()), cx);
    let both = file.and_then(|f| f.permanent_exit_codes.as_ref()).into_iter().flatten();
    for code in both.filter(|code| retry.contains(&code.value)) {
        let message = format!("the exit code {} stands in both lists", code.value);
        cx.error(codes::MISFIT, code.span.clone(), message).help("keep it in one of them");
    }
    CommandSpec {
        argv,
        cwd: file.and_then(|f| f.cwd.as_ref()).map(|cwd| cwd.value.clone()),
        retry_exit_codes: retry,
        permanent_exit_codes: permanent,
        grace: file.and_then(|f| f.grace.as_ref()).map_or(GRACE, |g| g.value.0),
        limits: file.and_then(|f| f.limits.as_ref()).map(limits).unwrap_or_default(),
    }
}

fn limits(file: &LimitsFile) -> ProcessLimits {
    let seconds = |d: &At<Duration>| d.value.0.0.div_ceil(1000).max(1);
    ProcessLimits {
        memory_bytes: file.memory.as_ref().map(|s| s.value.0),
        cpu_seconds: file.cpu.as_ref().map(seconds),
        files: file.files.as_ref().map(|n| u64::from(n.value)),
        file_bytes: file.file_size.as_ref().map(|s| s.value.0),
    }
}

fn split(line: &At<String>, cx: &mut Cx) -> Option<Vec<String>> {
    let words = match shell_words::split(&line.value) {
        Ok(words) if !words.is_empty() => words,
        Ok(_) => {
            cx.error(codes::BAD_COMMAND, line.span.clone(), "the command is empty".into());
            return None;
        }
        Err(cause) => {
            let message = "this command line can't be split".into();
            cx.error(codes::BAD_COMMAND, line.span.clone(), message).cause(cause);
            return None;
        }
    };
    if let Some(operator) = shell_words::operator(&line.value) {
        let message = format!("`{operator}` means nothing without a shell");
        let d = cx.error(codes::BAD_COMMAND, line.span.clone(), message);
        d.cause("a command is started as it is, with its words as arguments");
        d.help("use `shell:` for a script, or put the word inside quotes");
        return None;
    }
    stray(line, cx);
    Some(words)
}

fn argv(words: &[At<String>], cx: &mut Cx) -> Option<Vec<String>> {
    if words.first().is_none_or(|program| program.value.is_empty()) {
        let span = words.first().map_or(0..0, |w| w.span.clone());
        cx.error(codes::BAD_COMMAND, span, "the command is empty".into());
        return None;
    }
    for word in words {
        stray(word, cx);
        if word.value.contains('\0') {
            let message = "an argument can't hold a NUL character".into();
            cx.error(codes::BAD_COMMAND, word.span.clone(), message);
        }
    }
    Some(words.iter().map(|w| w.value.clone()).collect())
}

fn stray(text: &At<String>, cx: &mut Cx) {
    if text.value.contains("${{") {
        let message = "`${{ }}` is not evaluated here".into();
        let d = cx.error(codes::STRAY_TEMPLATE, text.span.clone(), message);
        d.cause("the command is the same for every attempt");
        d.help("use `env:`, or read the params from standard input");
    }
}

fn shell(shell: &Short<At<String>, ShellFile>, cx: &mut Cx) -> CommandSpec {
    let (script, file) = match shell {
        Short::Short(script) => (script, None),
        Short::Long(file) => (&file.script, Some(file)),
    };
    stray(script, cx);
    // As the built-in agent `shell` starts the scripts of `run:` steps.
    let argv = ["sh", "-e", "-c", &script.value].map(str::to_owned).to_vec();
    let file = file.map(|f| CommandFile {
        place: f.place.clone(),
        run: None,
        argv: None,
        cwd: f.cwd.clone(),
        grace: f.grace.clone(),
        limits: f.limits.clone(),
        retry_exit_codes: f.retry_exit_codes.clone(),
        permanent_exit_codes: f.permanent_exit_codes.clone(),
    });
    process(argv, file.as_ref(), cx)
}

const METHODS: [&str; 5] = ["POST", "GET", "PUT", "PATCH", "DELETE"];

fn http(http: &Short<At<String>, HttpFile>, cx: &mut Cx) -> Option<HttpSpec> {
    let default = |urls| HttpSpec {
        urls,
        method: "POST".into(),
        headers: BTreeMap::new(),
        response_bytes_max: OUTPUT_BYTES_MAX as u64,
        retry_after_max: RETRY_AFTER_MAX,
        retry_statuses: Vec::new(),
    };
    let file = match http {
        Short::Short(one) => return Some(default(vec![url(one, cx)?])),
        Short::Long(file) => file,
    };
    let urls: Vec<&At<String>> = match (&file.url, &file.urls) {
        (Some(one), None) => vec![one],
        (None, Some(many)) if !many.is_empty() => many.iter().collect(),
        _ => {
            let message = "`http` needs either `url` or `urls`".into();
            cx.error(codes::MISFIT, file.place.span.clone(), message);
            return None;
        }
    };
    let mut spec = default(urls.into_iter().filter_map(|u| url(u, cx)).collect());
    if let Some(method) = &file.method {
        if METHODS.contains(&method.value.as_str()) {
            spec.method = method.value.clone();
        } else {
            let message = format!("{:?} is not a method that is used here", method.value);
            let d = cx.error(codes::WRONG_VALUE, method.span.clone(), message);
            d.help(format!("write one of: {}", METHODS.join(", ")));
        }
    }
    spec.headers = headers(file.headers.as_ref(), cx);
    if let Some(size) = &file.max_response {
        spec.response_bytes_max = size.value.0;
    }
    if let Some(longest) = &file.retry_after_max {
        spec.retry_after_max = longest.value.0;
    }
    for status in file.retry_statuses.iter().flatten() {
        if !(400..=599).contains(&status.value) {
            let message = format!("{} is not the status of a failure", status.value);
            cx.error(codes::WRONG_VALUE, status.span.clone(), message).help("write 400 to 599");
        }
        spec.retry_statuses.push(status.value);
    }
    Some(spec)
}

fn headers(headers: Option<&Entries<Tmpl>>, cx: &mut Cx) -> BTreeMap<String, Template> {
    let mut templates = BTreeMap::new();
    for (key, value) in headers.iter().flat_map(|h| &h.0) {
        check_uses(value, cx);
        let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.value.is_empty() || !key.value.chars().all(legal) {
            let message = format!("{:?} can't be the name of a header", key.value);
            cx.error(codes::BAD_NAME, key.span.clone(), message);
        } else if !matches!(value.source(), Json::String(_) | Json::Number(_) | Json::Bool(_)) {
            cx.wrong_type(&value.node, "text");
        } else {
            templates.insert(key.value.clone(), value.template.clone());
        }
    }
    templates
}

fn url(text: &At<String>, cx: &mut Cx) -> Option<String> {
    let rest = text.value.strip_prefix("http://").or_else(|| text.value.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let legal = |c: char| c.is_ascii_graphic();
    let fine = host.is_some_and(|h| !h.is_empty() && !h.starts_with(':') && !h.contains("${{"));
    if fine && text.value.chars().all(legal) {
        if host.is_some_and(|h| h.contains('@')) {
            let message = "a URL with a password in it".into();
            let d = cx.error(codes::BAD_URL, text.span.clone(), message);
            d.cause("it would stand in logs").help("use `headers:` with ${{ secrets.NAME }}");
            return None;
        }
        return Some(text.value.clone());
    }
    let message = format!("{:?} is not a URL", text.value);
    let d = cx.error(codes::BAD_URL, text.span.clone(), message);
    d.help("write http://HOST:PORT/PATH or https://HOST/PATH");
    None
}
