//! Whose word of who somebody is the server of a node believes, as the settings say.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use moa_ports::agent::Secrets;
use moa_server::auth::fetch::Fetch;
use moa_server::auth::jwt::keys::{KeySet, Source};
use moa_server::auth::jwt::{self, Issuer, Keys, SecretOf};
use moa_server::auth::oidc::{self, Oidc};
use moa_server::auth::role::Role;
use moa_spec::{ClaimRules, JwtAlgorithm, JwtIssuer, JwtKeys, RoleText, Server};

use crate::exit::{Exit, Failure, Result};
use crate::project::Layout;
use crate::secrets::SecretStore;

/// Bytes of a file with a public key at most.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// The issuers of JWTs, and the provider that browsers sign in with.
pub struct Issuers {
    /// Whose JWTs are believed.
    pub jwt: Vec<Issuer>,
    /// Sign-in with a provider.
    pub oidc: Option<Oidc>,
}

impl Issuers {
    /// As the settings say. `wait` is how long an issuer may take to answer.
    ///
    /// # Errors
    /// A file with a key can't be used.
    pub fn new(
        layout: &Layout,
        server: &Server,
        secrets: &SecretStore,
        wait: Duration,
    ) -> Result<Self> {
        let fetch = Fetch::new(wait);
        let secret_of = secret_of(secrets);
        let jwt = server.jwt.iter().map(|one| issuer(layout, one, &fetch, &secret_of));
        let jwt = jwt.collect::<Result<Vec<_>>>()?;
        let oidc = server.oidc.as_ref().map(|one| {
            let secret = one.client_secret.as_ref();
            let options = oidc::Options {
                issuer: one.issuer.clone(),
                client_id: one.client_id.clone(),
                secret: secret.map(|name| (name.to_string(), secret_of.clone())),
                algorithm: algorithm(one.algorithm),
                scopes: one.scopes.clone(),
                label: one.label.clone(),
                rules: rules(&one.claims),
            };
            Oidc::new(options, fetch.clone())
        });
        Ok(Self { jwt, oidc })
    }
}

fn secret_of(secrets: &SecretStore) -> SecretOf {
    let secrets = secrets.clone();
    Arc::new(move |name| match secrets.get(name) {
        Some(value) => Ok(value),
        None => {
            let why = secrets.fault(name).unwrap_or_else(|| "it is not there".into());
            Err(format!("the secret {name} can't be used: {why}"))
        }
    })
}

fn issuer(layout: &Layout, one: &JwtIssuer, fetch: &Fetch, secret_of: &SecretOf) -> Result<Issuer> {
    let algorithm = algorithm(one.algorithm);
    let set = |source| Keys::Set(Arc::new(KeySet::new(source, algorithm, fetch.clone())));
    let keys = match &one.keys {
        JwtKeys::Secret(name) => Keys::Secret(name.to_string(), secret_of.clone()),
        JwtKeys::Url(url) => set(Source::Url(url.clone())),
        JwtKeys::File(path) => set(Source::File(layout.root.join(path))),
        JwtKeys::Pem(path) => {
            let path = layout.root.join(path);
            let shown = path.display();
            let size = fs::metadata(&path).map(|meta| meta.len());
            let text = match size {
                Ok(size) if size > KEY_BYTES_MAX => Err(std::io::ErrorKind::FileTooLarge.into()),
                Ok(_) => fs::read(&path),
                Err(error) => Err(error),
            };
            let text = text.map_err(|e| Failure::io(format!("can't read the key {shown}"), &e))?;
            let key = jwt::public_key(&text, algorithm).map_err(|why| {
                let word = one.algorithm;
                let text = format!("{shown} holds no public key for {word:?}: {why}");
                Failure::new(Exit::Invalid, text)
                    .hint("`openssl pkey -in KEY -pubout` writes a public key as PEM")
            })?;
            Keys::Public(Box::new(key))
        }
    };
    Ok(Issuer {
        issuer: one.issuer.clone(),
        audience: one.audience.clone(),
        algorithm,
        keys,
        rules: rules(&one.claims),
        leeway: one.leeway.to_std(),
    })
}

fn algorithm(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn rules(rules: &ClaimRules) -> jwt::ClaimRules {
    let role = |role: RoleText| match role {
        RoleText::Viewer => Role::Viewer,
        RoleText::Operator => Role::Operator,
        RoleText::Approver => Role::Approver,
        RoleText::Admin => Role::Admin,
    };
    let roles = rules.roles.iter().map(|(value, text)| (value.clone(), role(*text))).collect();
    jwt::ClaimRules { name: rules.name.clone(), role: rules.role.clone(), roles }
}
