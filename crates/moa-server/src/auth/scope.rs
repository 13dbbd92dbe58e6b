//! What a token is narrowed to.
//!
//! A role says what somebody may do, scopes say to what: a request passes when both admit it. A scope
//! is a resource ([`Resource`]), or a resource and a name: `runs`, `runs:nightly`, `events:order.*`.
//! The scope `read` is everything that a viewer may look at, as a viewer. No scopes at all narrow
//! nothing. Each route says in the tables of [`crate::api`] and [`crate::pages`] which resource it is
//! about ([`Area`]). What is named is looked at where it stands: in the path here ([`judge`]), in a
//! body by the handler ([`Identity::must_reach`]).

use std::fmt;
use std::str::FromStr;

use axum::extract::{RawPathParams, Request};
use axum::http::Uri;
use moa_core::ids::RunId;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::role::{Access, Role};
use super::{Identity, forbidden};
use crate::App;
use crate::error::{Code, Problem, Result};

/// Scopes of a token at most.
pub const SCOPES_MAX: usize = 50;
/// Bytes of a name in a scope at most.
const NAME_BYTES_MAX: usize = 200;
/// The scope that makes a viewer.
const READ: &str = "read";

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Runs, and what is to do in them; by the name of their workflow.
    Runs,
    /// Workflows: their texts, versions, graphs; by name.
    Workflows,
    /// Schedules, other triggers and rules; by the name of their workflow.
    Triggers,
    /// Events that are published; by type.
    Events,
    /// Agents; by name.
    Agents,
    /// Webhooks that are told of what happens; by name.
    Webhooks,
    /// Alerts.
    Alerts,
    /// Numbers: counters, targets, what is scraped, charts.
    Metrics,
    /// The node: health, jobs, limits, settings.
    Node,
    /// Secrets; by name.
    Secrets,
    /// Tokens and sessions.
    Tokens,
    /// The audit log.
    Audit,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 12] = [
        Resource::Runs,
        Resource::Workflows,
        Resource::Triggers,
        Resource::Events,
        Resource::Agents,
        Resource::Webhooks,
        Resource::Alerts,
        Resource::Metrics,
        Resource::Node,
        Resource::Secrets,
        Resource::Tokens,
        Resource::Audit,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Runs => "runs",
            Resource::Workflows => "workflows",
            Resource::Triggers => "triggers",
            Resource::Events => "events",
            Resource::Agents => "agents",
            Resource::Webhooks => "webhooks",
            Resource::Alerts => "alerts",
            Resource::Metrics => "metrics",
            Resource::Node => "node",
            Resource::Secrets => "secrets",
            Resource::Tokens => "tokens",
            Resource::Audit => "audit",
        }
    }

    /// Whether a scope may name one of it.
    const fn has_names(self) -> bool {
        match self {
            Resource::Runs | Resource::Workflows | Resource::Triggers | Resource::Events => true,
            Resource::Agents | Resource::Webhooks | Resource::Secrets => true,
            Resource::Alerts | Resource::Metrics | Resource::Node => false,
            Resource::Tokens | Resource::Audit => false,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Nothing of the project: who asks, what the API is, that something has changed.
    Free,
    /// Everything at once.
    Whole,
    /// Code that somebody brings: it runs as the node does, so no scope narrows what it reaches.
    Code,
    /// A copy of all that there is, also of what no role shows: no scope narrows that either.
    Backup,
    /// A resource; the one that the path names, if it names one.
    Of(Resource),
    /// Of a resource what the query says: `workflow=NAME`.
    ByQuery(Resource),
    /// Of a resource what the body says; the handler looks with [`Identity::must_reach`].
    ByBody(Resource),
}

impl Area {
    /// The resource, where it is one.
    pub const fn resource(self) -> Option<Resource> {
        match self {
            Area::Free | Area::Whole | Area::Code | Area::Backup => None,
            Area::Of(of) | Area::ByQuery(of) | Area::ByBody(of) => Some(of),
        }
    }
}

impl From<Resource> for Area {
    fn from(of: Resource) -> Self {
        Area::Of(of)
    }
}

/// What a token may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything that a viewer may look at.
    Read,
    /// A resource.
    Of {
        /// Which one.
        resource: Resource,
        /// Only what is called so; with `*` at its end, what begins so. `None` = all of it.
        name: Option<String>,
    },
}

impl Scope {
    /// Whether it reaches what is called so.
    fn names(&self, of: Resource, called: &str) -> bool {
        match self {
            Scope::Read => false,
            Scope::Of { resource, name } => {
                *resource == of && name.as_deref().is_none_or(|name| fits(name, called))
            }
        }
    }

    /// Whether all that `other` reaches is reached by this one.
    fn covers(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::Read, Scope::Read) => true,
            (Scope::Of { resource, name }, Scope::Of { resource: of, name: called }) => {
                let names = |name: &str| called.as_deref().is_some_and(|other| fits(name, other));
                resource == of && name.as_deref().is_none_or(names)
            }
            _ => false,
        }
    }
}

/// Whether something is called as a scope says. A pattern is held against a narrower one too.
fn fits(name: &str, called: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => called.starts_with(start),
        None => called == name,
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Read => f.write_str(READ),
            Scope::Of { resource, name: None } => write!(f, "{resource}"),
            Scope::Of { resource, name: Some(name) } => write!(f, "{resource}:{name}"),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == READ {
            return Ok(Scope::Read);
        }
        let (word, name) = match text.split_once(':') {
            Some((word, name)) => (word, Some(name)),
            None => (text, None),
        };
        let known = Resource::ALL.into_iter().find(|resource| resource.as_str() == word);
        let resource = known.ok_or_else(|| {
            let words: Vec<&str> = Resource::ALL.iter().map(|one| one.as_str()).collect();
            format!("{word:?} is no scope; there are read, {}", words.join(", "))
        })?;
        let Some(name) = name else { return Ok(Scope::Of { resource, name: None }) };
        if !resource.has_names() {
            return Err(format!("the scope {resource} takes no name"));
        }
        let stem = name.strip_suffix('*').unwrap_or(name);
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !stem.bytes().all(is_fine) {
            return Err(format!(
                "{name:?} names nothing in a scope: write a name, or how names begin and then *"
            ));
        }
        Ok(Scope::Of { resource, name: Some(name.to_owned()) })
    }
}

/// The scopes of somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scopes {
    /// None: whatever their role may.
    #[default]
    Unlimited,
    /// What one of these reaches; nothing, where there is none.
    These(Vec<Scope>),
}

impl From<Vec<Scope>> for Scopes {
    /// As tokens are kept: no scopes narrow nothing.
    fn from(scopes: Vec<Scope>) -> Self {
        match scopes.is_empty() {
            true => Scopes::Unlimited,
            false => Scopes::These(scopes),
        }
    }
}

/// How far scopes reach into an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To all of it.
    All,
    /// To what is called as a scope says; else as a viewer, if `read`.
    Named {
        /// Whether a viewer may look at all of it.
        read: bool,
    },
    /// To all of it, as a viewer.
    Read,
    /// Not at all.
    Nothing,
}

impl Scopes {
    /// Each of them; `None` = they narrow nothing.
    pub fn list(&self) -> Option<&[Scope]> {
        match self {
            Scopes::Unlimited => None,
            Scopes::These(scopes) => Some(scopes),
        }
    }

    /// How far they reach into an area that `access` admits to.
    pub fn reach(&self, access: Access, area: Area) -> Reach {
        let Scopes::These(scopes) = self else { return Reach::All };
        if area == Area::Free || access == Access::Public {
            return Reach::All;
        }
        if matches!(area, Area::Code | Area::Backup) {
            return Reach::Nothing;
        }
        let read = scopes.contains(&Scope::Read) && access.admits(Role::Viewer);
        let of_area = |scope: &&Scope| match scope {
            Scope::Read => false,
            Scope::Of { resource, .. } => area.resource() == Some(*resource),
        };
        let is_whole = |scope: &Scope| matches!(scope, Scope::Of { name: None, .. });
        match scopes.iter().filter(of_area).map(is_whole).reduce(|one, other| one || other) {
            Some(true) => Reach::All,
            Some(false) => Reach::Named { read },
            None if read => Reach::Read,
            None => Reach::Nothing,
        }
    }

    /// Whether they reach all of a resource, or what is called so.
    pub(super) fn reaches(&self, of: Resource, called: Option<&str>) -> bool {
        let Scopes::These(scopes) = self else { return true };
        let whole = Scope::Of { resource: of, name: None };
        scopes.iter().any(|scope| match called {
            Some(called) => scope.names(of, called),
            None => *scope == whole,
        })
    }

    /// Refuses scopes that reach further than these.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn must_cover(&self, others: &[Scope]) -> Result<()> {
        let Scopes::These(scopes) = self else { return Ok(()) };
        let covered = |other: &Scope| scopes.iter().any(|scope| scope.covers(other));
        if !others.is_empty() && others.iter().all(covered) {
            return Ok(());
        }
        let text = "a token can't be made that reaches further than the one that asks for it";
        Err(Problem::new(Code::Forbidden, text).hint(format!("scopes of this one: {self}")))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scopes::Unlimited => f.write_str("all"),
            Scopes::These(scopes) if scopes.is_empty() => f.write_str("none"),
            Scopes::These(scopes) => {
                let words: Vec<String> = scopes.iter().map(Scope::to_string).collect();
                f.write_str(&words.join(" "))
            }
        }
    }
}

impl Identity {
    /// Refuses what the scopes don't reach: all of a resource, or what is called so.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn must_reach(&self, of: Resource, called: Option<&str>) -> Result<()> {
        match self.scopes.reaches(of, called) {
            true => Ok(()),
            false => Err(out_of_scope(&Area::Of(of), &self.scopes)),
        }
    }

    /// Whether somebody may look at what a viewer may look at: all of a resource, or what is called so.
    pub fn sees(&self, of: Resource, called: Option<&str>) -> bool {
        let reads = self.scopes.list().is_some_and(|scopes| scopes.contains(&Scope::Read));
        reads || self.scopes.reaches(of, called)
    }

    /// Refuses who may not look at what is called so.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn must_see(&self, of: Resource, called: &str) -> Result<()> {
        match self.sees(of, Some(called)) {
            true => Ok(()),
            false => Err(out_of_scope(&Area::Of(of), &self.scopes)),
        }
    }

    /// Whether somebody may see or do all of a resource that takes this role.
    pub fn may(&self, least: Role, of: Resource) -> bool {
        self.role.includes(least) && self.scopes.reaches(of, None)
    }
}

fn out_of_scope(area: &Area, scopes: &Scopes) -> Problem {
    let wanted = match (area, area.resource()) {
        (_, Some(of)) => format!("the scope {of}"),
        (Area::Code, None) => "a token without scopes, as it can run any code".into(),
        (Area::Backup, None) => "a token without scopes, as it gives a copy of all there is".into(),
        (_, None) => "the scope read, or a token without scopes".into(),
    };
    let text = format!("this takes {wanted}, and the scopes of this token don't reach it");
    Problem::new(Code::Forbidden, text).hint(format!("its scopes are: {scopes}"))
}

/// What a request is for.
pub struct Asked {
    /// The server.
    app: Option<App>,
    uri: Uri,
    /// The parts of the path that the route names.
    params: RawPathParams,
}

impl Asked {
    /// Of a request that [`super::identify`] has seen.
    pub fn of(request: &Request, params: RawPathParams) -> Self {
        Self { app: request.extensions().get::<App>().cloned(), uri: request.uri().clone(), params }
    }
}

/// Refuses whom a route does not admit; answers who it is to the route: a viewer, where only the scope
/// `read` admits them.
///
/// # Errors
/// [`Code::Forbidden`]; or what is named can't be looked up.
pub async fn judge(access: Access, area: Area, who: Identity, asked: Asked) -> Result<Identity> {
    if !access.admits(who.role) {
        return Err(forbidden(access, who.role));
    }
    let read = match who.scopes.reach(access, area) {
        Reach::All => return Ok(who),
        Reach::Nothing => return Err(out_of_scope(&area, &who.scopes)),
        Reach::Read => true,
        Reach::Named { read } => {
            if is_named(area, &who, &asked).await? {
                return Ok(who);
            }
            read
        }
    };
    match read {
        true => Ok(Identity { role: Role::Viewer, ..who }),
        false => Err(out_of_scope(&area, &who.scopes)),
    }
}

/// Whether a request is about what the scopes name.
async fn is_named(area: Area, who: &Identity, asked: &Asked) -> Result<bool> {
    let app = || {
        let app = asked.app.as_ref();
        app.ok_or_else(|| Problem::new(Code::Internal, "who asks is not known"))
    };
    let part = |wanted: &str| asked.params.iter().find(|(key, _)| *key == wanted).map(|(_, t)| t);
    let called = match Called::by(area, asked.uri.query(), part) {
        Called::InBody => return Ok(true),
        Called::Not => None,
        Called::So(name) => Some(name),
        Called::AsOfRun(run) => workflow_of(app()?, run).await?,
        Called::AsOfTrigger(trigger) => {
            let found = crate::api::triggers::find(app()?, trigger).await.ok();
            // A rule is the project's, whichever workflow it starts.
            let own = found.filter(|known| !known.spec.rule);
            own.map(|known| known.spec.workflow.to_string())
        }
    };
    let of = area.resource().zip(called);
    Ok(of.is_some_and(|(of, called)| who.scopes.reaches(of, Some(&called))))
}

/// How a request says what it is about.
pub(super) enum Called<'a> {
    /// Not at all: it is about all of a resource.
    Not,
    /// In its body, which the handler reads.
    InBody,
    /// By this name.
    So(String),
    /// By the workflow of this run.
    AsOfRun(&'a str),
    /// By the workflow of this trigger.
    AsOfTrigger(&'a str),
}

impl<'a> Called<'a> {
    /// By its query, and the parts of its path, each by the name that the route gives it.
    pub(super) fn by(
        area: Area,
        query: Option<&str>,
        part: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let so = |name: Option<&str>| name.map_or(Self::Not, |name| Self::So(name.to_owned()));
        let of = match area {
            Area::Free | Area::Whole | Area::Code | Area::Backup => return Self::Not,
            Area::ByBody(_) => return Self::InBody,
            Area::ByQuery(_) => {
                let query = query.unwrap_or_default().as_bytes();
                let mut given = form_urlencoded::parse(query).filter(|(key, _)| key == "workflow");
                // Of two, the handler might take the other one.
                let only = given.next().filter(|_| given.next().is_none());
                return so(only.as_ref().map(|(_, name)| &**name));
            }
            Area::Of(of) => of,
        };
        match of {
            // The short paths call either `id`.
            Resource::Runs => match part("run").or(part("id")) {
                Some(run) => Self::AsOfRun(run),
                None => so(part("workflow")),
            },
            Resource::Triggers => part("trigger").map_or(Self::Not, Self::AsOfTrigger),
            Resource::Workflows => so(part("workflow")),
            Resource::Agents => so(part("agent").or(part("id"))),
            Resource::Webhooks => so(part("webhook")),
            Resource::Secrets => so(part("secret")),
            Resource::Events | Resource::Alerts | Resource::Metrics | Resource::Node => Self::Not,
            Resource::Tokens | Resource::Audit => Self::Not,
        }
    }
}

/// The workflow of a run that is named by its whole id: a part of one, or `last`, may be another run
/// when it is looked up again.
async fn workflow_of(app: &App, text: &str) -> Result<Option<String>> {
    let Some(run) = text.parse::<RunId>().ok().filter(|run| run.to_string() == text) else {
        return Ok(None);
    };
    let found = app.reader().views.run_part(run, 0, 0).await?;
    Ok(found.map(|run| run.row.workflow.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(words: &[&str]) -> Scopes {
        let scope = |word: &&str| word.parse::<Scope>().expect("a scope");
        words.iter().map(scope).collect::<Vec<_>>().into()
    }

    #[test]
    fn scopes_are_written_as_they_are_read_and_nothing_else_is_one() {
        for text in ["read", "runs", "runs:nightly", "events:order.*", "secrets:*", "audit"] {
            assert_eq!(text.parse::<Scope>().expect("a scope").to_string(), text);
        }
        for text in [
            "",
            "all",
            "write",
            "Runs",
            "runs:",
            "runs:a b",
            "runs:*a",
            "runs:a**",
            "read:x",
            "tokens:x",
            "runs:a,b",
            "runs:\u{1b}",
            " runs",
            "*",
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn none_reach_everything_and_each_its_own_resource() {
        let least = Access::Least(Role::Viewer);
        assert_eq!(Scopes::Unlimited.reach(least, Area::Whole), Reach::All);
        let none = Scopes::These(Vec::new());
        assert_eq!(none.reach(least, Area::Whole), Reach::Nothing);
        assert_eq!(none.reach(least, Area::Free), Reach::All);
        assert_eq!(scopes(&["read", "agents"]).reach(least, Area::Code), Reach::Nothing);
        assert_eq!(scopes(&["read", "node"]).reach(least, Area::Backup), Reach::Nothing);
        for one in Resource::ALL {
            let scopes = scopes(&[one.as_str()]);
            for other in Resource::ALL {
                let wanted = if one == other { Reach::All } else { Reach::Nothing };
                assert_eq!(scopes.reach(least, other.into()), wanted, "{one} {other}");
            }
            assert_eq!(scopes.reach(least, Area::Whole), Reach::Nothing);
        }
    }

    #[test]
    fn read_is_what_a_viewer_may_and_names_stand_beside_it() {
        let (viewer, operator) = (Access::Least(Role::Viewer), Access::Least(Role::Operator));
        let both = scopes(&["read", "runs:nightly"]);
        assert_eq!(both.reach(viewer, Area::Whole), Reach::Read);
        assert_eq!(both.reach(operator, Area::Of(Resource::Workflows)), Reach::Nothing);
        let runs = Area::Of(Resource::Runs);
        assert_eq!(both.reach(viewer, runs), Reach::Named { read: true });
        assert_eq!(both.reach(operator, runs), Reach::Named { read: false });
        assert!(both.reaches(Resource::Runs, Some("nightly")));
        assert!(!both.reaches(Resource::Runs, Some("nightly2")));
        assert!(!both.reaches(Resource::Runs, None));
        assert!(scopes(&["runs:night*"]).reaches(Resource::Runs, Some("nightly2")));
    }

    #[test]
    fn a_token_makes_none_that_reaches_further() {
        let may = |own: &[&str], new: &[&str]| {
            let Scopes::These(new) = scopes(new) else {
                return scopes(own).must_cover(&[]).is_ok();
            };
            scopes(own).must_cover(&new).is_ok()
        };
        assert!(may(&[], &[]) && may(&[], &["runs"]));
        assert!(!may(&["tokens"], &[]) && !may(&["tokens"], &["runs"]));
        assert!(may(&["tokens", "runs:a*"], &["runs:ab*", "tokens"]));
        assert!(may(&["runs"], &["runs:x"]) && !may(&["runs:x"], &["runs"]));
        assert!(!may(&["runs:ab*"], &["runs:a*"]) && !may(&["runs:a"], &["runs:a*"]));
        assert!(!may(&["read"], &["runs"]) && may(&["read"], &["read"]));
    }
}
