//! The sections `jwt` and `oidc` of `server`: who may use the API without a token of moa's own.

use crate::model::notify::Secretive;
use crate::read::At;
use crate::scalar::{Duration, Entries, Many};
use crate::{choice, record};

record! {
    /// Somebody whose JWTs are believed.
    pub struct JwtFile as "an issuer of JWTs" {
        /// The claim `iss`, letter by letter.
        issuer: At<String>,
        /// What the claim `aud` has to name: a text, or a list of which one is enough.
        audience: Many<At<String>>,
        /// How they are signed; no other way is accepted.
        algorithm: At<JwtAlgorithm>,
        /// The secret that HS256 signs with: `${{ secrets.NAME }}`.
        secret: Option<At<Secretive>>,
        /// The PEM file of the public key, relative to the project.
        key: Option<At<String>>,
        /// The JSON Web Key Set: an https address, or a file relative to the project.
        jwks: Option<At<String>>,
        /// The claim that says what somebody is called here; `sub` when not given.
        name_claim: Option<At<String>>,
        /// The claim with roles or groups, `realm_access.roles` for one inside another; `roles` when
        /// not given.
        role_claim: Option<At<String>>,
        /// What values of that claim allow, the first that fits; `*` is everybody. Values are the
        /// roles themselves when not given.
        roles: Option<Entries<At<RoleText>>>,
        /// How far clocks may differ; 30s when not given.
        leeway: Option<At<Duration>>,
    }

    /// Sign-in with an OpenID Connect provider.
    pub struct OidcFile as "`oidc`" {
        /// The provider: the address in front of `/.well-known/openid-configuration`.
        issuer: At<String>,
        /// How this client is called there.
        client_id: At<String>,
        /// Its secret: `${{ secrets.NAME }}`; none for a public client.
        client_secret: Option<At<Secretive>>,
        /// How id tokens are signed: RS256, ES256 or EdDSA; RS256 when not given.
        algorithm: Option<At<JwtAlgorithm>>,
        /// What is asked for beside `openid`; `profile` when not given.
        scopes: Option<Vec<At<String>>>,
        /// What the button says; `Sign in with` and the provider's host when not given.
        label: Option<At<String>>,
        /// The claim that says what somebody is called here; `sub` when not given.
        name_claim: Option<At<String>>,
        /// The claim with roles or groups; `roles` when not given.
        role_claim: Option<At<String>>,
        /// What values of that claim allow, the first that fits; `*` is everybody. Values are the
        /// roles themselves when not given.
        roles: Option<Entries<At<RoleText>>>,
    }
}

choice! {
    /// How a JWT is signed.
    pub enum JwtAlgorithm as "how JWTs are signed" {
        /// With a secret that both sides have.
        Hs256 = "HS256",
        /// With RSA.
        Rs256 = "RS256",
        /// With ECDSA on P-256.
        Es256 = "ES256",
        /// With Ed25519.
        EdDsa = "EdDSA",
    }

    /// What somebody may do.
    pub enum RoleText as "a role" {
        /// Look.
        Viewer = "viewer",
        /// Look, and start and change runs.
        Operator = "operator",
        /// Look, and decide approvals.
        Approver = "approver",
        /// Everything.
        Admin = "admin",
    }
}
