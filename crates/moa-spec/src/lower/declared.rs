//! What expressions may expect: the types of params, constants and outputs, as far as they are
//! declared. What isn't declared may be anything.

use std::collections::{BTreeMap, HashMap};

use moa_core::expr::{Error, Misfit, Program, Type, Types, Wanted};
use serde_json::Value as Json;

use super::header::Header;
use super::{Flat, Form, Item};
use crate::check::Project;
use crate::codes;
use crate::read::Cx;
use crate::scalar::{Expr, Short, Tmpl};
use crate::yaml::Node;

/// Levels of a schema that are looked at.
const SCHEMA_LEVELS_MAX: usize = 16;

/// What is declared in a file, and in the project that it belongs to.
pub(super) struct Declared<'a> {
    params: BTreeMap<String, Type>,
    vars: BTreeMap<String, Type>,
    steps: HashMap<&'a str, Type>,
    all_steps: Type,
    run: Type,
}

/// The names that stand at one place.
pub(super) struct Here<'d, 'a> {
    pub declared: &'d Declared<'a>,
    /// Names that exist only there.
    pub locals: &'d [&'d str],
}

impl<'a> Declared<'a> {
    pub fn of(flat: &'a Flat, header: &Header, project: Option<&Project>) -> Self {
        let params = header.params.iter().map(|spec| {
            let default = spec.default.as_ref().map_or(Type::never(), of_json);
            (spec.name.clone(), of_schema(&spec.schema, 0).or(default))
        });
        let vars = header.vars.iter().map(|(name, value)| (name.clone(), of_json(value)));
        let steps: HashMap<&str, Type> = (flat.items.iter())
            .map(|item| (item.id.as_str(), of_step(of_output(item, project))))
            .collect();
        let all = steps.iter().map(|(id, step)| ((*id).to_owned(), step.clone())).collect();
        Self {
            params: params.collect(),
            vars: vars.collect(),
            steps,
            all_steps: Type::map(all, false),
            run: of_run(),
        }
    }
}

impl Types for Here<'_, '_> {
    fn lookup(&self, name: &str) -> Type {
        let Declared { params, vars, steps, all_steps, run } = self.declared;
        if self.locals.contains(&name) {
            return Type::any();
        }
        match name {
            // Names that don't exist are reported elsewhere.
            "params" => Type::map(params.clone(), false),
            "vars" => Type::map(vars.clone(), false),
            "steps" => all_steps.clone(),
            "run" => run.clone(),
            "slot" | "event" | "env" | "error" | "secrets" => Type::any(),
            _ => {
                let known = steps.get(name).or_else(|| params.get(name)).or_else(|| vars.get(name));
                known.cloned().unwrap_or(Type::any())
            }
        }
    }
}

fn of_run() -> Type {
    let known = [
        ("id", Type::string()),
        ("workflow", Type::string()),
        ("version", Type::any()),
        ("hash", Type::any()),
        ("created_at", Type::string()),
        ("started_at", Type::string().or(Type::null())),
        ("parent", Type::any()),
    ];
    Type::map(known.map(|(name, of)| (name.to_owned(), of)).into(), true)
}

/// A step whose output is of that type: its own fields, and the keys of its output beside them.
fn of_step(output: Type) -> Type {
    let status = [
        ("success", Type::bool()),
        ("failed", Type::bool()),
        ("skipped", Type::bool()),
        ("status", Type::string()),
        ("output", output.clone().or(Type::null())),
        ("error", Type::any()),
        ("attempt", Type::int()),
        ("started_at", Type::string().or(Type::null())),
        ("duration", Type::number().or(Type::null())),
    ];
    output.over(status.map(|(name, of)| (name.to_owned(), of)).into())
}

/// The output of a step: what its `outputs` say, or else the schema of its agent's action.
fn of_output(item: &Item, project: Option<&Project>) -> Type {
    // Of the others it is put together from the steps inside them.
    let plain = matches!(
        item.form,
        Form::Agent | Form::Short(_) | Form::Child | Form::WaitFor | Form::Approve
    );
    if !plain || item.step.parallel.is_some() {
        return Type::any();
    }
    if let Some(outputs) = &item.step.outputs {
        let known = outputs.0.iter().map(|(name, output)| {
            let schema = match output {
                Short::Short(_) => None,
                Short::Long(long) => long.schema.as_ref().map(|schema| &schema.json),
            };
            (name.value.clone(), schema.map_or(Type::any(), |schema| of_schema(schema, 0)))
        });
        return Type::map(known.collect(), true);
    }
    let agent = item.step.agent.as_ref().and_then(|id| project?.agents.get(&id.value.0));
    let action = item.step.action.as_ref().and_then(|name| agent?.actions.get(&name.value));
    let Some(schema) = action.and_then(|action| action.output.as_ref()) else {
        return Type::any();
    };
    // A large answer is kept in a file, and the output says where.
    let file = ["artifact", "bytes", "path"].map(|name| (name.to_owned(), Type::any()));
    of_schema(schema, 0).or_with_keys(file.into())
}

/// What meets a JSON Schema. Keywords that aren't looked at here can only forbid more.
fn of_schema(schema: &Json, level: usize) -> Type {
    let kind = match schema {
        Json::String(word) => return of_word(word, &Json::Null, level),
        Json::Object(map) if level < SCHEMA_LEVELS_MAX => map,
        _ => return Type::any(),
    };
    let among = |values: &[Json]| values.iter().map(of_json).fold(Type::never(), Type::or);
    let found = match (kind.get("type"), kind.get("enum"), kind.get("const")) {
        (Some(Json::String(word)), ..) => of_word(word, schema, level),
        (Some(Json::Array(words)), ..) => {
            let words = words.iter().map(|word| match word {
                Json::String(word) => of_word(word, schema, level),
                _ => Type::any(),
            });
            words.fold(Type::never(), Type::or)
        }
        (None, Some(Json::Array(values)), _) => among(values),
        (None, None, Some(value)) => of_json(value),
        _ => Type::any(),
    };
    if found.is_never() { Type::any() } else { found }
}

fn of_word(word: &str, schema: &Json, level: usize) -> Type {
    match word {
        "null" => Type::null(),
        "boolean" => Type::bool(),
        // 1.0 is an integer of JSON, and a double of the language.
        "integer" | "number" => Type::number(),
        "string" => Type::string(),
        "array" => {
            let fixed = schema.get("prefixItems").is_some();
            let items = schema.get("items").filter(|_| !fixed);
            Type::list(items.map_or(Type::any(), |items| of_schema(items, level + 1)))
        }
        "object" => {
            let properties = schema.get("properties").and_then(Json::as_object);
            let known = properties.into_iter().flatten();
            let known = known.map(|(name, of)| (name.clone(), of_schema(of, level + 1)));
            let others = schema.get("patternProperties").is_some();
            let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
            Type::map(known.collect(), closed && !others)
        }
        _ => Type::any(),
    }
}

fn of_json(value: &Json) -> Type {
    match value {
        Json::Null => Type::null(),
        Json::Bool(_) => Type::bool(),
        Json::Number(_) => Type::number(),
        Json::String(_) => Type::string(),
        Json::Array(_) => Type::list(Type::any()),
        Json::Object(_) => Type::map(BTreeMap::new(), false),
    }
}

/// Reports what can't succeed in an expression.
pub(super) fn check_expr(expr: &Expr, wanted: Wanted, here: &Here, cx: &mut Cx) {
    check(&expr.program, 0, &expr.node, wanted, here, cx);
}

/// The same of the expressions in a template.
pub(super) fn check_template(template: &Tmpl, here: &Here, cx: &mut Cx) {
    for (program, at, node) in &template.programs {
        check(program, *at, node, Wanted::Anything, here, cx);
    }
}

fn check(program: &Program, at: usize, node: &Node, wanted: Wanted, here: &Here, cx: &mut Cx) {
    let Some(Misfit { error, certain }) = program.misfit(here, wanted) else { return };
    let Error { message, span, hint } = error;
    let span = cx.place_in(node, &(at + span.start..at + span.end));
    let d = match certain {
        true => cx.error(codes::MISFIT_TYPES, span, message),
        false => cx.warn(codes::MISFIT_TYPES, span, message),
    };
    d.cause(match certain {
        true => "by what is declared, this fails whenever it is evaluated",
        false => "by what is declared, the expression fails when it gets here",
    });
    d.help = hint;
}
