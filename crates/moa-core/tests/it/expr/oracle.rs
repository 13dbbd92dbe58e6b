//! Random expressions give what another implementation of CEL gives.
//!
//! The other one recurses, so it runs on a large stack, on small sources.

use std::sync::Arc;

use cel::objects::{Key as CelKey, Map as CelMap};
use cel::{Context, Program as CelProgram, Value as Cel};
use moa_core::expr::Program;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::Names;

/// Makes a source of numbers: each choice takes the next one.
struct Writer<'c> {
    choices: &'c [u8],
    at: usize,
    /// Names of the loop variables around; they are ints.
    variables: Vec<String>,
}

impl Writer<'_> {
    fn choose(&mut self, among: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(choice) % among
    }

    fn int(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        let simple = if depth == 0 { 4 } else { 15 };
        match self.choose(simple) {
            0 => ["0", "1", "2", "7", "-3", "9223372036854775807"][self.choose(6)].to_owned(),
            1 => ["n", "zero", "neg"][self.choose(3)].to_owned(),
            2 => match self.variables.last() {
                Some(variable) => variable.clone(),
                None => "n".to_owned(),
            },
            3 => "m.a".to_owned(),
            4 => format!("({} + {})", self.int(d), self.int(d)),
            5 => format!("({} - {})", self.int(d), self.int(d)),
            6 => format!("({} * {})", self.int(d), self.int(d)),
            7 => format!("({} / {})", self.int(d), self.int(d)),
            8 => format!("({} % {})", self.int(d), self.int(d)),
            9 => format!("-({})", self.int(d)),
            10 => format!("({} ? {} : {})", self.bool(d), self.int(d), self.int(d)),
            11 => format!("size({})", self.list(d)),
            12 => format!("{}[{}]", self.list(d), self.int(0)),
            13 => format!("int({})", self.double(d)),
            _ => format!("{}.size()", self.string(d)),
        }
    }

    fn double(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 2 } else { 6 }) {
            0 => ["0.0", "1.5", "-2.25", "1e10"][self.choose(4)].to_owned(),
            1 => "x".to_owned(),
            2 => format!("({} + {})", self.double(d), self.double(d)),
            3 => format!("({} * {})", self.double(d), self.double(d)),
            // No NaN: the other one takes comparing it for an error.
            4 => format!("({} / -4.0)", self.double(d)),
            _ => format!("double({})", self.int(d)),
        }
    }

    fn string(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 2 } else { 5 }) {
            0 => ["''", "'a'", "'é'", "\"b\\n\"", "r'\\d'"][self.choose(5)].to_owned(),
            1 => "s".to_owned(),
            2 => format!("({} + {})", self.string(d), self.string(d)),
            3 => format!("string({})", self.int(d)),
            _ => format!("({} ? {} : {})", self.bool(d), self.string(d), self.string(d)),
        }
    }

    fn list(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 2 } else { 6 }) {
            0 => "list".to_owned(),
            1 => format!("[{}, {}]", self.int(0), self.int(0)),
            2 => format!("({} + {})", self.list(d), self.list(d)),
            3 => self.looped("map", d, Self::int),
            4 => self.looped("filter", d, Self::bool),
            _ => "[]".to_owned(),
        }
    }

    fn looped(&mut self, name: &str, d: usize, body: fn(&mut Self, usize) -> String) -> String {
        let list = self.list(d);
        let variable = format!("v{}", self.variables.len());
        self.variables.push(variable.clone());
        let body = body(self, d);
        self.variables.pop();
        format!("{list}.{name}({variable}, {body})")
    }

    fn bool(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        let compare = ["==", "!=", "<", "<=", ">", ">="][self.choose(6)];
        match self.choose(if depth == 0 { 3 } else { 18 }) {
            0 => "true".to_owned(),
            1 => "false".to_owned(),
            2 => "yes".to_owned(),
            3 | 4 => format!("({} {compare} {})", self.int(d), self.int(d)),
            5 => format!("({} {compare} {})", self.double(d), self.double(d)),
            6 => format!("({} {compare} {})", self.int(d), self.double(d)),
            7 => format!("({} {compare} {})", self.string(d), self.string(d)),
            8 => format!("({} && {})", self.bool(d), self.bool(d)),
            9 => format!("({} || {})", self.bool(d), self.bool(d)),
            10 => format!("!{}", self.bool(d)),
            11 => format!("({} in {})", self.int(d), self.list(d)),
            12 => {
                let name = ["all", "exists", "exists_one"][self.choose(3)];
                self.looped(name, d, Self::bool)
            }
            13 => format!("({} == {})", self.list(d), self.list(d)),
            14 => format!("{}.contains({})", self.string(d), self.string(d)),
            15 => format!("{}.startsWith({})", self.string(d), self.string(d)),
            16 => ["has(m.a)", "has(m.zzz)", "('a' in m)", "('z' in m)"][self.choose(4)].to_owned(),
            _ => ["missing", "(m.zzz == 1)", "(m['a'] == 1)"][self.choose(3)].to_owned(),
        }
    }

    fn any(&mut self, depth: usize) -> String {
        match self.choose(6) {
            0 => self.int(depth),
            1 => self.double(depth),
            2 => self.string(depth),
            3 => self.list(depth),
            _ => self.bool(depth),
        }
    }
}

fn names() -> Json {
    json!({
        "n": 3, "zero": 0, "neg": -5, "x": 0.5, "s": "héllo", "yes": true,
        "list": [3, 1, 2], "m": {"a": 1, "b": [true]},
    })
}

/// Integers as ints: through serde they would arrive unsigned there.
fn to_cel(json: &Json) -> Cel {
    match json {
        Json::Null => Cel::Null,
        Json::Bool(b) => Cel::Bool(*b),
        Json::Number(n) => match n.as_i64() {
            Some(n) => Cel::Int(n),
            None => Cel::Float(n.as_f64().expect("a number is a double at least")),
        },
        Json::String(s) => Cel::String(Arc::new(s.clone())),
        Json::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Json::Object(members) => {
            let entries = members.iter().map(|(k, v)| (CelKey::from(k.as_str()), to_cel(v)));
            Cel::Map(CelMap { map: Arc::new(entries.collect()) })
        }
    }
}

fn to_text(value: &Cel) -> String {
    match value {
        Cel::Null => "null".to_owned(),
        Cel::Bool(b) => b.to_string(),
        Cel::Int(n) => n.to_string(),
        Cel::UInt(n) => format!("{n}u"),
        Cel::Float(n) => format!("{n:?}"),
        Cel::String(s) => format!("{s:?}"),
        Cel::List(items) => {
            let items: Vec<String> = items.iter().map(to_text).collect();
            format!("[{}]", items.join(","))
        }
        other => format!("{other:?}"),
    }
}

/// The same text of our values.
fn our_text(value: &moa_core::expr::Value) -> String {
    use moa_core::expr::Value;
    match value {
        Value::Double(n) => format!("{n:?}"),
        Value::String(s) => format!("{s:?}"),
        Value::Uint(n) => format!("{n}u"),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(our_text).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_json().to_string(),
    }
}

fn compare(source: &str) -> Result<(), TestCaseError> {
    let ours = Program::compile(source).and_then(|p| p.eval(&Names::of(names())));
    let mut context = Context::default();
    for (name, value) in names().as_object().expect("the names are an object") {
        context.add_variable_from_value(name.as_str(), to_cel(value));
    }
    let theirs = CelProgram::compile(source).map_err(|e| e.to_string());
    let theirs = theirs.and_then(|p| p.execute(&context).map_err(|e| e.to_string()));
    match (&ours, &theirs) {
        (Ok(a), Ok(b)) => prop_assert_eq!(our_text(a), to_text(b), "{}", source),
        (Err(_), Err(_)) => {}
        _ => prop_assert!(false, "{source}\n  ours   {ours:?}\n  theirs {theirs:?}"),
    }
    Ok(())
}

#[test]
fn another_implementation_agrees() {
    let test = || {
        let config =
            ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let choices = prop::collection::vec(any::<u8>(), 0..60);
        runner.run(&choices, |choices| {
            let mut writer = Writer { choices: &choices, at: 0, variables: Vec::new() };
            compare(&writer.any(4))
        })
    };
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(test);
    let result = thread.expect("a thread starts").join().expect("nothing overflows");
    if let Err(error) = result {
        panic!("{error}");
    }
}
