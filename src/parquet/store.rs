//! Files wherever they are: on this machine, in object stores, on web servers.

use super::credentials::Access;
use super::data_files::{self, DataFile, RandomAccess, Stamp, carried, changed, within};
use super::http_client::{self, Connector};
use crate::error::{Error, Result, with_causes};
use crate::local::network::Network;
use crate::local::spi;
use bytes::Bytes;
use datafiles::location::{Http, Kind, Location, LocationError, Object, is_below, parse_endpoint};
use datafiles::pattern::Pattern;
use datafiles::redact;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::HttpClient;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig, StaticCredentialProvider,
};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MOST_RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// What it takes to find files and to open them again in another process. Holds secrets, so that it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Store {
    /// Whether the caller may read files of the server's machine, and any URL with the server's place in the network.
    reads_server_files: bool,
    access: Option<Access>,
    /// Whole URLs by the names of their files, which lack the query.
    urls: BTreeMap<String, String>,
    #[serde(skip)]
    connections: Arc<Connections>,
}

/// What a process has open. Made when first needed, and never sent to another.
#[derive(Default)]
struct Connections {
    network: Mutex<Option<Arc<Network>>>,
    clients: Mutex<BTreeMap<&'static str, HttpClient>>,
    stores: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl Store {
    /// Checks the caller's rights and takes over the options of the server and of the caller's user mapping.
    pub fn resolve(paths: &[String], server: Option<&str>) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, "no path is given"));
        }
        let mut store = Self {
            reads_server_files: spi::fixed::query_json(
                "SELECT pg_catalog.to_json(pg_catalog.pg_has_role('pg_read_server_files', 'USAGE'))::pg_catalog.text",
                &[],
            )?,
            access: server.map(Access::look_up).transpose()?,
            urls: BTreeMap::new(),
            connections: Arc::default(),
        };
        for path in paths {
            let location = parse(path)?;
            store.admit(&location)?;
            let Location::Http(http) = location else { continue };
            let url = http.url.to_string();
            if store.urls.insert(http.name.clone(), url.clone()).is_some_and(|other| other != url) {
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    format!("more than one URL is \"{}\" without its query", http.name),
                )
                .detail("Files are told apart by their names, which lack the query because it may be a signature."));
            }
        }
        Ok(store)
    }

    /// The files that paths of SQL arguments mean.
    pub fn list(paths: Vec<Option<String>>, server: Option<&str>) -> Result<Vec<DataFile>> {
        let paths = paths
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "a path must not be null"))?;
        Self::resolve(&paths, server)?.find(&paths)
    }

    /// A path as people may see it: the query of a URL may be a signature.
    pub fn name_of(path: &str) -> Result<String> {
        Ok(match parse(path)? {
            Location::Http(http) => http.name,
            Location::Local(_) | Location::Object(_) => path.to_owned(),
        })
    }

    /// Expands files, patterns and directories: sorted by name, without duplicates, and with the same partition columns.
    pub fn find(&self, paths: &[String]) -> Result<Vec<DataFile>> {
        let mut found = Vec::new();
        for path in paths {
            let location = parse(path)?;
            self.admit(&location)?;
            found.extend(match &location {
                Location::Local(path) => data_files::find_local(path)?,
                Location::Object(object) => self.find_objects(path, object)?,
                Location::Http(http) => vec![self.find_http(http)?],
            });
        }
        // Of a file that was found twice, the way that says more about it.
        found.sort_by(|a: &DataFile, b| a.name.cmp(&b.name).then_with(|| b.partition.len().cmp(&a.partition.len())));
        found.dedup_by(|again, first| again.name == first.name);
        check_partitions(&found)?;
        Ok(found)
    }

    /// Opens a file that `find` found, in whatever process.
    pub fn open(&self, file: &DataFile) -> Result<Arc<dyn RandomAccess>> {
        let location = match self.urls.get(&file.name) {
            Some(url) => parse(url)?,
            None => parse(&file.name)?,
        };
        self.admit(&location)?;
        let (store, path) = match &location {
            Location::Local(_) => return Ok(Arc::new(data_files::open_local(file)?)),
            Location::Object(object) => (self.object_store(object)?, key_path(&file.name, &object.key)?),
            Location::Http(http) => (self.http_store(http)?, Path::default()),
        };
        Ok(Arc::new(RemoteFile { store: self.clone(), objects: store, path, file: file.clone() }))
    }

    /// Whether the caller may read there.
    fn admit(&self, location: &Location) -> Result<()> {
        let Some(kind) = location.kind() else {
            return match &self.access {
                Some(access) => Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                    format!("server \"{}\" is given with a path of this machine", access.server),
                )
                .hint("Give URLs, or no server.")),
                None if self.reads_server_files => Ok(()),
                None => Err(not_permitted("permission denied to read a file of the server's machine")),
            };
        };
        let Some(access) = &self.access else {
            if self.reads_server_files {
                return Ok(());
            }
            return Err(not_permitted("permission denied to read a URL without a server")
                .hint("Name a foreign server on which you have the USAGE privilege."));
        };
        let elsewhere = |detail: String| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("server \"{}\" is not for this URL", access.server),
            )
            .detail(detail)
        };
        if let Some(own) = access.kind
            && own != kind
        {
            return Err(elsewhere(format!("Its type is \"{}\", that of the URL is \"{}\".", own.name(), kind.name())));
        }
        match location {
            Location::Http(http) => {
                let Some(endpoint) = &access.endpoint else {
                    return Err(elsewhere("It has no option \"endpoint\", below which http URLs must be.".into()));
                };
                if !is_below(&http.url, &endpoint_url(endpoint)?) {
                    return Err(elsewhere(format!("The URL is not below its endpoint, {endpoint}.")));
                }
            }
            // Tokens of the user mapping must not be sent to whatever account a caller names.
            Location::Object(Object { account: Some(account), .. })
                if access.endpoint.is_some() || access.account.as_ref() != Some(account) =>
            {
                return Err(elsewhere("The storage account of the URL is not that of its option \"account\".".into()));
            }
            _ => {}
        }
        access.check_kind(kind)
    }

    fn find_objects(&self, text: &str, object: &Object) -> Result<Vec<DataFile>> {
        let objects = self.object_store(object)?;
        let data_file = |meta: ObjectMeta, folders: &[&str]| -> Result<DataFile> {
            let name = format!("{}{}", object.root, meta.location);
            let partition = data_files::partition(&name, folders)?;
            Ok(DataFile { name, bytes: meta.size, partition, stamp: stamp(&meta) })
        };
        let pattern = Pattern::parse(&object.key);
        let is_directory = object.key.is_empty() || object.key.ends_with('/');
        if pattern.is_literal() && !is_directory {
            let path = key_path(text, &object.key)?;
            match self.wait(objects.head(&path)) {
                Ok(meta) => return Ok(vec![data_file(meta, &[])?]),
                // Then it may be the beginning of other keys, as a directory is.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.error(text, &error)),
            }
        }
        let pattern = if pattern.is_literal() { Pattern::directory(&object.key) } else { pattern };
        let metas = self.list_below(&*objects, &pattern, text)?;
        let listed_any = !metas.is_empty();
        let mut found = Vec::new();
        for meta in metas {
            let key = meta.location.to_string();
            // A name with wildcards in it may be meant as it is.
            let folders = if key == object.key { Some(Vec::new()) } else { pattern.folders_of(&key) };
            if let Some(folders) = folders {
                found.push(data_file(meta, &folders)?);
            }
        }
        if found.is_empty() {
            if pattern.is_literal() && !listed_any {
                return Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, format!("\"{text}\" does not exist")));
            }
            return Err(data_files::nothing_found(text, !pattern.is_literal()));
        }
        Ok(found)
    }

    /// All objects that a pattern can match.
    fn list_below(&self, objects: &dyn ObjectStore, pattern: &Pattern, text: &str) -> Result<Vec<ObjectMeta>> {
        let base = key_path(text, pattern.base())?;
        let base = (!base.as_ref().is_empty()).then_some(base);
        let listed = |outcome: object_store::Result<Vec<ObjectMeta>>| outcome.map_err(|error| self.error(text, &error));
        if !pattern.is_of_one_level() {
            return listed(self.wait(objects.list(base.as_ref()).try_collect()));
        }
        // What lies deeper, and can be most of a store, is not asked for.
        let level = self.wait(objects.list_with_delimiter(base.as_ref())).map_err(|error| self.error(text, &error))?;
        let mut metas = level.objects;
        for folder in level.common_prefixes {
            if pattern.enter(&pattern.start(), folder.filename().unwrap_or_default()).is_some() {
                metas.extend(listed(self.wait(objects.list(Some(&folder)).try_collect()))?);
            }
        }
        Ok(metas)
    }

    fn find_http(&self, http: &Http) -> Result<DataFile> {
        let objects = self.http_store(http)?;
        let path = Path::default();
        // Not a HEAD request: a signature may be for GET alone, and the answer shows whether there are ranges.
        let options = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
        let meta = match self.wait(objects.get_opts(&path, options)) {
            Ok(answer) => answer.meta,
            // An empty file has no first byte: "range not satisfiable".
            Err(error) if with_causes(&error).contains("416") => match self.wait(objects.head(&path)) {
                Ok(meta) if meta.size == 0 => meta,
                _ => return Err(self.error(&http.name, &error)),
            },
            Err(error) => return Err(self.error(&http.name, &error)),
        };
        Ok(DataFile { name: http.name.clone(), bytes: meta.size, partition: Vec::new(), stamp: stamp(&meta) })
    }

    fn http_store(&self, http: &Http) -> Result<Arc<dyn ObjectStore>> {
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

    fn object_store(&self, object: &Object) -> Result<Arc<dyn ObjectStore>> {
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

    /// The store of a name, made once in a process.
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

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let network = {
            let mut network = self.connections.network.lock().unwrap_or_else(PoisonError::into_inner);
            match &*network {
                Some(network) => Arc::clone(network),
                None => Arc::clone(network.insert(Arc::new(crate::error::or_raise(Network::start())))),
            }
        };
        network.wait(future)
    }

    fn error(&self, name: &str, error: &object_store::Error) -> Error {
        let name = redact::redact(name, &[]);
        let mut told = self.reason(error);
        told.message = format!("could not read \"{name}\": {}", told.message);
        told
    }

    /// Without the name, and without anything secret.
    fn reason(&self, error: &object_store::Error) -> Error {
        use object_store::Error as Remote;
        let text = with_causes(error);
        let hidden = |text: &str| redact::redact(text, &self.access.as_ref().map(Access::secrets).unwrap_or_default());
        let answer = redact::answer(&text).map(|answer| format!("The store answers: {}", hidden(&answer)));
        // Of a failed listing only the text says it.
        let status = |code: &str| text.contains(&format!("status code: {code}"));
        let mut told = match error {
            Remote::NotFound { .. } => not_there(),
            _ if status("404") => not_there(),
            _ if is_refusal(error) || status("401") || status("403") => {
                let told =
                    Error::new(PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, "the store refuses access");
                if self.access.as_ref().is_some_and(Access::has_credentials) {
                    told
                } else {
                    told.hint("It was asked without credentials; they belong to the user mapping of a foreign server.")
                }
            }
            Remote::Precondition { .. } => changed(),
            Remote::NotSupported { .. } if text.contains("Range") => Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "its server does not send parts of files",
            )
            .hint("The server must understand range requests. Copy the file to one that does, or to this machine."),
            Remote::InvalidPath { .. } => {
                Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "a key is not supported").detail(format!(
                    "{}. Keys with empty names, \".\" or \"..\" between slashes cannot be read.",
                    hidden(&text)
                ))
            }
            // The answer in short, if there is one: its whole text can hold what was sent.
            _ if answer.is_some() => Error::new(PgSqlErrorCode::ERRCODE_FDW_ERROR, "the request failed"),
            _ => Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, shortened(&hidden(&text))),
        };
        if let Some(answer) = answer {
            told = told.detail(answer);
        }
        told
    }
}

/// A file of an object store or a web server.
struct RemoteFile {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    path: Path,
    file: DataFile,
}

impl RandomAccess for RemoteFile {
    fn length(&self) -> u64 {
        self.file.bytes
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        within(offset, length, self.file.bytes)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let options =
            GetOptions { range: Some(GetRange::Bounded(offset..offset + length as u64)), ..GetOptions::default() };
        let outcome = self.store.wait(async {
            let answer = self.objects.get_opts(&self.path, options).await?;
            if !is_same(&self.file, &answer.meta) {
                return Ok(None);
            }
            answer.bytes().await.map(Some)
        });
        match outcome {
            Ok(Some(bytes)) if bytes.len() == length => Ok(bytes),
            Ok(Some(_)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its server sent less than was asked for")),
            Ok(None) => Err(carried(changed())),
            Err(error) => Err(carried(self.store.reason(&error))),
        }
    }
}

fn parse(text: &str) -> Result<Location> {
    Location::parse(text).map_err(|LocationError { message, hint }| {
        let error = Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

fn not_there() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, "it does not exist")
}

fn is_refusal(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
}

/// Texts of stores can be whole web pages.
fn shortened(text: &str) -> String {
    const MOST_CHARACTERS: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The name is told already, and how often it was tried helps nobody.
    let line = line
        .split_once("Error performing ")
        .and_then(|(_, tried)| tried.split_once(" - "))
        .map_or(line.as_str(), |(_, reason)| reason);
    match line.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn endpoint_url(endpoint: &str) -> Result<reqwest::Url> {
    parse_endpoint(endpoint).map_err(|error| Error::internal(error.message))
}

fn not_permitted(message: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message).detail(
        "Only roles with privileges of the \"pg_read_server_files\" role may read files, and URLs, with the server's \
         own rights.",
    )
}

fn key_path(text: &str, key: &str) -> Result<Path> {
    Path::parse(key).map_err(|_| {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("the key in \"{text}\" is not supported"))
            .detail("Keys with empty names, \".\" or \"..\" between slashes cannot be read.")
    })
}

/// Files of one load have the same columns.
fn check_partitions(found: &[DataFile]) -> Result<()> {
    let columns = |file: &DataFile| file.partition.iter().map(|(column, _)| column.clone()).collect::<Vec<_>>();
    let Some(first) = found.first() else { return Ok(()) };
    let expected = columns(first);
    let Some(other) = found.iter().find(|file| columns(file) != expected) else { return Ok(()) };
    let words = |file: &DataFile| match columns(file) {
        columns if columns.is_empty() => format!("The folders of \"{}\" name no column.", file.name),
        columns => format!("The folders of \"{}\" name the columns {}.", file.name, columns.join(", ")),
    };
    Err(Error::new(PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH, "the folders of the files do not name the same columns")
        .detail(words(first))
        .detail(words(other)))
}

fn stamp(meta: &ObjectMeta) -> Stamp {
    // Lists and answers write the same tag differently.
    let tag = meta.e_tag.as_deref().map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
    Stamp { modified: meta.last_modified.timestamp(), tag }
}

fn is_same(file: &DataFile, meta: &ObjectMeta) -> bool {
    let now = stamp(meta);
    let same_content = match (&file.stamp.tag, &now.tag) {
        (Some(then), Some(now)) => then == now,
        _ => file.stamp.modified == now.modified,
    };
    same_content && file.bytes == meta.size
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: MOST_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

/// A bucket or container with what it takes to reach it.
///
/// The builders get credentials in every case, if only ones that are not used: without any, they would look for some in
/// files and in the metadata service of the cloud that this machine is in.
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
