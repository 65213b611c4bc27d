//! A file that is read in ranges from an object store or a web server.

use super::Store;
use crate::parquet::data_files::{DataFile, RandomAccess, Stamp, carried, changed, within};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use std::io;
use std::sync::Arc;

/// A file of an object store or a web server.
pub(super) struct RemoteFile {
    pub(super) store: Store,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    pub(super) file: DataFile,
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

/// Returns the marks by which a changed object is recognized.
pub(super) fn stamp(meta: &ObjectMeta) -> Stamp {
    // Listings and answers write the same tag differently.
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
