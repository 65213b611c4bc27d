//! The HTTP client of object stores. It takes nothing from its environment: no proxy, no credentials.

use super::credentials::{Access, parse_certificates};
use crate::error::{Error, Result, with_causes};
use datafiles::location::{Kind, is_below, parse_endpoint};
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector};
use openssl::base64::encode_block;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 5;

/// Gives every store the one client, with its connections.
#[derive(Debug)]
pub struct Connector(pub HttpClient);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

pub fn build(kind: Kind, access: Option<&Access>) -> Result<HttpClient> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("pgcopy/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect_policy(kind, access));
    if kind == Kind::Http
        && let Some(value) = access.and_then(authorization)
    {
        let mut value = HeaderValue::try_from(value).map_err(|_| Error::internal("invalid credentials"))?;
        value.set_sensitive(true);
        builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
    }
    if let Some(pem) = access.and_then(|access| access.ca_certificate.as_deref()) {
        builder = builder.tls_certs_merge(parse_certificates(pem));
    }
    let client =
        builder.build().map_err(|error| Error::internal(format!("could not set up HTTP: {}", with_causes(&error))))?;
    Ok(HttpClient::new(client))
}

fn authorization(access: &Access) -> Option<String> {
    if let Some(token) = access.secret("bearer_token") {
        return Some(format!("Bearer {token}"));
    }
    let (user, password) = (access.secret("user")?, access.secret("password")?);
    Some(format!("Basic {}", encode_block(format!("{user}:{password}").as_bytes())))
}

/// Returns the policy of redirects: they must not lead where the caller may not go, nor out of encryption.
fn redirect_policy(kind: Kind, access: Option<&Access>) -> Policy {
    if kind != Kind::Http {
        return Policy::none();
    }
    let is_bound = access.is_some();
    let endpoint = access.and_then(|access| parse_endpoint(access.endpoint.as_deref()?).ok());
    let may_follow = move |attempt: &Attempt| {
        let downgrade = |from: &Url| from.scheme() == "https" && attempt.url().scheme() != "https";
        match &endpoint {
            Some(endpoint) => is_below(attempt.url(), endpoint),
            None => !is_bound && !attempt.previous().last().is_some_and(downgrade),
        }
    };
    Policy::custom(move |attempt| {
        if attempt.previous().len() > MOST_REDIRECTS {
            attempt.error("too many redirects")
        } else if may_follow(&attempt) {
            attempt.follow()
        } else {
            attempt.error("it redirects to a place that may not be read")
        }
    })
}
