//! Files of this machine, of object stores and of web servers.

mod containers;
mod error;
mod remote_file;

use super::credentials::Access;
use super::data_files::{self, DataFile, RandomAccess};
use crate::error::{Error, Result, with_causes};
use crate::local::spi;
use containers::Connections;
use datafiles::location::{Http, Location, LocationError, Object, is_below, parse_endpoint};
use datafiles::pattern::Pattern;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use pgrx::prelude::*;
use remote_file::{RemoteFile, stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rights and credentials with which files are found, and opened again in another process. It holds secrets, so
/// that it has no `Debug`.
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

    /// Returns the files that paths of SQL arguments mean.
    pub fn list(paths: Vec<Option<String>>, server: Option<&str>) -> Result<Vec<DataFile>> {
        let paths = paths
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "a path must not be null"))?;
        Self::resolve(&paths, server)?.find(&paths)
    }

    /// Returns a path as people may see it: the query of a URL may be a signature.
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
        // A file that was found twice is kept with the larger number of partition columns.
        found.sort_by(|a: &DataFile, b| a.name.cmp(&b.name).then_with(|| b.partition.len().cmp(&a.partition.len())));
        found.dedup_by(|again, first| again.name == first.name);
        check_partitions(&found)?;
        Ok(found)
    }

    /// Opens a file that `find` found, in this process or another one.
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

    /// Refuses places that the caller may not read.
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
            // Tokens of the user mapping must not be sent to an account of the caller's choice.
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
                // The key may be the beginning of other keys, as a directory is.
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

    /// Lists all objects that a pattern can match.
    fn list_below(&self, objects: &dyn ObjectStore, pattern: &Pattern, text: &str) -> Result<Vec<ObjectMeta>> {
        let base = key_path(text, pattern.base())?;
        let base = (!base.as_ref().is_empty()).then_some(base);
        let listed = |outcome: object_store::Result<Vec<ObjectMeta>>| outcome.map_err(|error| self.error(text, &error));
        if !pattern.is_of_one_level() {
            return listed(self.wait(objects.list(base.as_ref()).try_collect()));
        }
        // Objects that lie deeper, and can be most of a store, are not listed.
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

/// Refuses files whose folders do not name the same columns.
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
