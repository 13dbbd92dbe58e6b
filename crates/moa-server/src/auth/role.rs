//! Who may do what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Look, and start, change and repeat runs.
    Operator,
    /// Look, and decide approvals.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Admin => "admin",
        }
    }

    /// Whether it may do what `least` may. Approvers stand beside operators, not above.
    pub const fn includes(self, least: Role) -> bool {
        match (self, least) {
            (Role::Admin, _) | (_, Role::Viewer) => true,
            (Role::Operator, Role::Operator) | (Role::Approver, Role::Approver) => true,
            (Role::Viewer | Role::Operator | Role::Approver, _) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Role::ALL.iter().find(|role| role.as_str() == text);
        known.copied().ok_or_else(|| {
            let words: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
            format!("{text:?} is not a role; there are {}", words.join(", "))
        })
    }
}

/// Who may ask for a route. Each route says it in the table of [`crate::api`] or [`crate::pages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without a token: it tells and changes nothing that is anybody's business.
    Public,
    /// Who has at least this role.
    Least(Role),
    /// Who may do what one of these may; the handler looks closer.
    Either(Role, Role),
}

impl Access {
    /// Whether somebody of this role may.
    pub const fn admits(self, role: Role) -> bool {
        match self {
            Access::Public => true,
            Access::Least(least) => role.includes(least),
            Access::Either(one, other) => role.includes(one) || role.includes(other),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Public => f.write_str("everybody"),
            Access::Least(role) => write!(f, "{role}"),
            Access::Either(one, other) => write!(f, "{one} or {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvers_stand_beside_operators() {
        let may = |role: Role| Role::ALL.map(|least| role.includes(least));
        assert_eq!(may(Role::Viewer), [true, false, false, false]);
        assert_eq!(may(Role::Operator), [true, true, false, false]);
        assert_eq!(may(Role::Approver), [true, false, true, false]);
        assert_eq!(may(Role::Admin), [true, true, true, true]);
        assert!(!Access::Either(Role::Operator, Role::Approver).admits(Role::Viewer));
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }
}
