//! What somebody would be refused, known before they ask: for pages, which offer nothing of that.
//!
//! It is read off the table of routes, and names are looked for as [`super::scope::judge`] looks for them, so a
//! page can't say something else than what is answered then. Absent by intent: what handlers refuse
//! by a body.

use super::Identity;
use super::role::Role;
use super::scope::{Called, Reach, Scopes};
use crate::routes::Row;

/// As what somebody of a role and scopes would be let in; `None` = they would be refused. `to` is a path
/// as it would be asked for, perhaps with a query; `called` the workflow of the run or trigger that it is
/// about, which only a look into the store could tell.
pub fn role_at(
    (own, scopes): (Role, &Scopes),
    method: &str,
    to: &str,
    called: Option<&str>,
) -> Option<Role> {
    let (path, query) = to.split_once('?').map_or((to, None), |(path, q)| (path, Some(q)));
    let row = row_of(crate::rows(), method, path)?;
    if !row.access.admits(own) {
        return None;
    }
    let read = match scopes.reach(row.access, row.area) {
        Reach::All => return Some(own),
        Reach::Nothing => return None,
        Reach::Read => return Some(Role::Viewer),
        Reach::Named { read } => read,
    };
    let name = match Called::by(row.area, query, |wanted| part(&row.path, path, wanted)) {
        Called::InBody => return Some(own),
        Called::Not => None,
        Called::So(name) => Some(name),
        Called::AsOfRun(_) | Called::AsOfTrigger(_) => called.map(str::to_owned),
    };
    let of = row.area.resource().zip(name);
    match of.is_some_and(|(of, name)| scopes.reaches(of, Some(&name))) {
        true => Some(own),
        false => read.then_some(Role::Viewer),
    }
}

impl Identity {
    /// As what somebody would be let in: see [`role_at`].
    pub fn role_at(&self, method: &str, to: &str, called: Option<&str>) -> Option<Role> {
        role_at((self.own_role, &self.scopes), method, to, called)
    }

    /// Whether somebody would be let in; as [`Identity::role_at`].
    pub fn may_ask(&self, method: &str, to: &str, called: Option<&str>) -> bool {
        self.role_at(method, to, called).is_some()
    }
}

/// The row of the table that a path belongs to: what is written out goes before what is named.
fn row_of<'a>(rows: &'a [Row], method: &str, path: &str) -> Option<&'a Row> {
    let fits = |row: &&Row| row.method == method && pairs(&row.path, path).is_some();
    rows.iter().filter(fits).min_by_key(|row| row.path.matches('{').count())
}

/// The part of a path that its template calls so.
fn part<'a>(template: &str, path: &'a str, wanted: &str) -> Option<&'a str> {
    let name =
        |part: &str| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) == Some(wanted);
    pairs(template, path)?.find(|(part, _)| name(part)).map(|(_, text)| text)
}

/// The parts of a template, each with what a path has there; `None` = it is not of this template.
fn pairs<'t, 'a>(
    template: &'t str,
    path: &'a str,
) -> Option<impl Iterator<Item = (&'t str, &'a str)> + use<'t, 'a>> {
    let (parts, own) = (template.split('/'), path.split('/'));
    let all = parts.zip(own);
    let is_named = |part: &str| part.starts_with('{');
    let fits = template.matches('/').count() == path.matches('/').count()
        && all.clone().all(|(part, text)| part == text || is_named(part) && !text.is_empty());
    fits.then_some(all)
}

#[cfg(test)]
mod tests {
    use crate::auth::Via;
    use crate::auth::scope::Scope;

    use super::*;

    fn who(role: Role, scopes: &[&str]) -> Identity {
        let scope = |word: &&str| word.parse::<Scope>().expect("a scope");
        let scopes: Vec<Scope> = scopes.iter().map(scope).collect();
        let (id, name) = ("tok_1".to_owned(), "one".to_owned());
        // As a page that only `read` admits to sees somebody.
        let via = Via::Token;
        Identity { id, name, role: Role::Viewer, own_role: role, scopes: scopes.into(), via }
    }

    #[test]
    fn it_is_known_before_what_would_be_refused() {
        let change = "/runs/0192/change";
        assert!(!who(Role::Viewer, &[]).may_ask("POST", change, None));
        assert!(!who(Role::Approver, &[]).may_ask("POST", change, None));
        assert!(who(Role::Operator, &[]).may_ask("POST", change, None));
        let nightly = who(Role::Operator, &["read", "runs:nightly"]);
        assert!(nightly.may_ask("POST", change, Some("nightly")));
        assert!(!nightly.may_ask("POST", change, Some("payroll")));
        assert!(!nightly.may_ask("POST", change, None));
        assert!(nightly.may_ask("POST", "/workflows/nightly/start", None));
        assert!(!nightly.may_ask("POST", "/workflows/payroll/start", None));
        assert_eq!(nightly.role_at("GET", "/agents/press", None), Some(Role::Viewer));
        assert!(!nightly.may_ask("POST", "/agents/press/act", None));
        let press = who(Role::Admin, &["agents:press"]);
        assert_eq!(press.role_at("POST", "/agents/press/act", None), Some(Role::Admin));
        assert!(!press.may_ask("POST", "/agents/press/test", None), "it runs code");
        assert!(!press.may_ask("GET", "/agents", None));
    }

    #[test]
    fn a_query_names_and_what_is_written_out_goes_first() {
        let nightly = who(Role::Viewer, &["runs:nightly"]);
        assert!(nightly.may_ask("GET", "/api/v1/runs?workflow=nightly", None));
        assert!(!nightly.may_ask("GET", "/api/v1/runs?workflow=nightly&workflow=x", None));
        assert!(!who(Role::Viewer, &[]).may_ask("GET", "/runs/bulk", None));
        assert!(who(Role::Viewer, &[]).may_ask("GET", "/runs/0192", None));
        assert!(!who(Role::Admin, &[]).may_ask("GET", "/nowhere", None));
        assert!(!who(Role::Admin, &[]).may_ask("GET", "/runs/", None));
    }
}
