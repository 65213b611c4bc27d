//! Object stores and web servers: how they are reached, and with which credentials.

use super::Store;
use crate::error::{Error, Result};
use crate::local::network::Network;
use crate::parquet::credentials::Access;
use crate::parquet::http_client::{self, Connector};
use datafiles::location::{Http, Kind, Object};
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::HttpClient;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};
use pgrx::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MOST_RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// The open connections of a process. They are made when first needed, and never sent to another process.
#[derive(Default)]
pub(super) struct Connections {
    network: Mutex<Option<Arc<Network>>>,
    clients: Mutex<BTreeMap<&'static str, HttpClient>>,
    stores: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl Store {
    /// Returns the store of a URL on a web server.
    pub(super) fn http_store(&self, http: &Http) -> Result<Arc<dyn ObjectStore>> {
        self.connected(http.url.as_str(), Kind::Http, |connector| {
            Ok(Arc::new(
                HttpBuilder::new()
                    .with_url(http.url.as_str())
                    .with_retry(retries())
                    .with_client_options(ClientOptions::new().with_allow_http(true))
                    .with_http_connector(connector)
                    .build()?,
            ))
        })
    }

    /// Returns the store of a bucket or container.
    pub(super) fn object_store(&self, object: &Object) -> Result<Arc<dyn ObjectStore>> {
        let access = self.access.as_ref();
        let endpoint = access.and_then(|access| access.endpoint.as_deref()).map(|url| url.trim_end_matches('/'));
        let account = object.account.as_deref().or(access.and_then(|access| access.account.as_deref()));
        if object.kind == Kind::Azure && account.is_none() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                format!("no storage account is known for \"{}\"", object.root),
            )
            .hint("Give the server the option \"account\", or a URL with it: abfss://container@account.dfs.core.windows.net/…"));
        }
        self.connected(&object.root, object.kind, |connector| {
            let container = Container { name: &object.container, access, endpoint, connector };
            match object.kind {
                Kind::S3 => container.of_s3(),
                Kind::Gcs => container.of_gcs(),
                _ => container.of_azure(account.unwrap_or_default()),
            }
        })
    }

    /// Returns the store of a name, made once in a process.
    fn connected(
        &self,
        name: &str,
        kind: Kind,
        build: impl FnOnce(Connector) -> object_store::Result<Arc<dyn ObjectStore>>,
    ) -> Result<Arc<dyn ObjectStore>> {
        let mut stores = self.connections.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(name) {
            return Ok(Arc::clone(store));
        }
        let mut clients = self.connections.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match clients.get(kind.name()) {
            Some(client) => client.clone(),
            None => {
                let client = http_client::build(kind, self.access.as_ref())?;
                clients.insert(kind.name(), client.clone());
                client
            }
        };
        let store = build(Connector(client)).map_err(|error| self.error(name, &error))?;
        stores.insert(name.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Waits without blocking the server's interrupts.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let network = {
            let mut network = self.connections.network.lock().unwrap_or_else(PoisonError::into_inner);
            match &*network {
                Some(network) => Arc::clone(network),
                None => Arc::clone(network.insert(Arc::new(crate::error::or_raise(Network::start())))),
            }
        };
        network.wait(future)
    }
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: MOST_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

/// A bucket or container, with the endpoint and the credentials to reach it.
///
/// The builders always get credentials, if only unused ones: without any, they would look for some in files and in the
/// metadata service of the cloud that this machine is in.
struct Container<'a> {
    name: &'a str,
    access: Option<&'a Access>,
    endpoint: Option<&'a str>,
    connector: Connector,
}

impl<'a> Container<'a> {
    fn secret(&self, name: &str) -> Option<&'a str> {
        self.access?.secret(name)
    }

    fn of_s3(self) -> object_store::Result<Arc<dyn ObjectStore>> {
        let virtual_hosted = self.access.is_some_and(|access| access.virtual_hosted);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(self.name)
            .with_region(self.access.and_then(|access| access.region.as_deref()).unwrap_or("us-east-1"))
            .with_virtual_hosted_style_request(virtual_hosted)
            .with_access_key_id(self.secret("access_key_id").unwrap_or("anonymous"))
            .with_secret_access_key(self.secret("secret_access_key").unwrap_or("anonymous"))
            .with_skip_signature(self.secret("access_key_id").is_none())
            .with_retry(retries());
        if let Some(token) = self.secret("session_token") {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = self.endpoint {
            builder = builder.with_endpoint(match endpoint.split_once("://") {
                Some((scheme, host)) if virtual_hosted => format!("{scheme}://{}.{host}", self.name),
                _ => endpoint.to_owned(),
            });
        }
        Ok(Arc::new(builder.with_http_connector(self.connector).build()?))
    }

    fn of_gcs(self) -> object_store::Result<Arc<dyn ObjectStore>> {
        let builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(self.name)
            .with_base_url(self.endpoint.unwrap_or("https://storage.googleapis.com"))
            .with_retry(retries());
        let builder = match (self.secret("service_account_key"), self.secret("bearer_token")) {
            (Some(key), _) => builder.with_service_account_key(key),
            (None, token) => builder.with_skip_signature(token.is_none()).with_credentials(Arc::new(
                StaticCredentialProvider::new(GcpCredential { bearer: token.unwrap_or_default().to_owned() }),
            )),
        };
        Ok(Arc::new(builder.with_http_connector(self.connector).build()?))
    }

    fn of_azure(self, account: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
        let own_endpoint = || format!("https://{account}.blob.core.windows.net");
        let builder = MicrosoftAzureBuilder::new()
            .with_container_name(self.name)
            .with_account(account)
            .with_endpoint(self.endpoint.map_or_else(own_endpoint, ToOwned::to_owned))
            .with_retry(retries());
        let builder = if let Some(key) = self.secret("account_key") {
            builder.with_access_key(key).with_credential_type("access_key")
        } else if let Some(token) = self.secret("sas_token") {
            builder.with_config(AzureConfigKey::SasKey, token).with_credential_type("sas_token")
        } else {
            let token = self.secret("bearer_token");
            builder.with_skip_signature(token.is_none()).with_credentials(Arc::new(StaticCredentialProvider::new(
                AzureCredential::BearerToken(token.unwrap_or_default().to_owned()),
            )))
        };
        Ok(Arc::new(builder.with_http_connector(self.connector).build()?))
    }
}
