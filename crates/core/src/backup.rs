//! Writes the database as files that either engine can be filled from, while servers go on. Owns the format; the master key is
//! never in it, and the objects that the rows name are listed, not copied.
//!
//! ```text
//! backup.json                 what this is; written last, so that a folder without it is no backup
//! tables/<table>.jsonl.zst    first line [[column, kind], …], then one array a row, by primary key
//! objects.jsonl.zst           the same of objects: kind (nar or log), SHA-256 of the file in nix32, bytes
//! ```
//!
//! Kinds are `integer`, `boolean`, `text` and `bytes` (base64 with padding); null stands for no value of any kind.

use crate::{
    clock::Clock,
    codec::Encoder,
    db::{
        Location,
        dump::{self, Bulk, Cell, Column, ColumnKind, Rows},
    },
    error::{Error, Result},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use nix_compat::nixhash::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Raised by every change that a program which knows this number reads wrongly.
pub const FORMAT: u32 = 1;

pub(crate) const DESCRIPTION: &str = "backup.json";
pub(crate) const TABLES: &str = "tables";
pub(crate) const OBJECTS: &str = "objects.jsonl.zst";
/// `backup.json` before it is whole.
const UNFINISHED: &str = "backup.json.tmp";

/// Bytes of lines gathered before they are packed off the async threads.
const BLOCK: usize = 256 * 1024;

/// What a backup is: the content of `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub format: u32,
    /// True in every backup that was written to its end.
    pub complete: bool,
    /// Version of the program that made it.
    pub iglu: String,
    /// Number of the last migration that the database had.
    pub schema: i64,
    /// `sqlite` or `postgres`; either can be restored into the other.
    pub engine: String,
    /// When the snapshot was taken, as in `2026-06-30T12:00:00Z`.
    pub made_at: String,
    /// The setting `store_id`, where there is one.
    pub store_id: Option<String>,
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
    pub objects: Objects,
}

/// How much the rows name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    pub count: u64,
    pub bytes: u64,
}

impl Backup {
    pub fn rows(&self) -> u64 {
        self.tables.values().sum()
    }
}

/// How far a backup or a restore is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// A table, or `objects`.
    pub what: &'a str,
    /// Rows or objects.
    pub done: u64,
    /// How many there are, where this is known.
    pub of: Option<u64>,
}

/// Writes a snapshot of the database into a new or empty folder, readable by its owner only. `force` also takes a folder where an
/// earlier attempt ended too soon; a whole backup is never overwritten. The schema stays as it is: a backup can be made by the
/// program that will bring it up to date.
///
/// # Errors
/// [`Error::NotFound`] without a database, [`Error::Conflict`] where something is in the folder, and what the database and
/// the folder say. Then the folder holds no backup.
pub async fn backup(
    location: &Location,
    folder: &Path,
    force: bool,
    clock: &Clock,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Backup> {
    let mut bulk = Bulk::read(location).await?;
    let schema = bulk.schema().await?.ok_or_else(|| Error::NotFound("Iglu never used this database".to_owned()))?;
    let made_at = clock.now().to_string();
    let store_id = bulk.setting("store_id").await?;
    let catalog = dump::catalog(schema).await?;
    prepare(folder, force)?;

    let mut tables = BTreeMap::new();
    for table in &catalog {
        let lines = Lines::begin(folder.join(TABLES).join(format!("{}.jsonl.zst", table.name)), &table.columns)?;
        let rows = copy(bulk.rows(table), lines, &table.name, progress).await?;
        tables.insert(table.name.clone(), rows);
        crate::failpoint::reach("backup.table");
    }
    let columns = dump::object_columns();
    let mut bytes = 0;
    let named = bulk.objects(&catalog, &columns).map(|row| object_row(row?, &mut bytes));
    let lines = Lines::begin(folder.join(OBJECTS), &object_header())?;
    let count = copy(Box::pin(named), lines, "objects", progress).await?;
    let engine = bulk.engine().to_owned();
    bulk.close().await?;

    let backup = Backup {
        format: FORMAT,
        complete: true,
        iglu: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
        engine,
        made_at,
        store_id,
        tables,
        objects: Objects { count, bytes },
    };
    crate::failpoint::reach("backup.written");
    describe(folder, &backup)?;
    crate::failpoint::reach("backup.described");
    Ok(backup)
}

/// Writes rows as lines. How many there were.
async fn copy(
    mut rows: Rows<'_>,
    mut lines: Lines,
    what: &str,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<u64> {
    let mut done = 0;
    while let Some(row) = rows.next().await {
        lines.push(row?.into_iter().map(value).collect()).await?;
        done += 1;
        if done % 1000 == 0 {
            progress(Progress { what, done, of: None });
        }
    }
    lines.finish().await?;
    progress(Progress { what, done, of: Some(done) });
    Ok(done)
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Integer(value) => value.into(),
        Cell::Boolean(value) => value.into(),
        Cell::Text(value) => value.into(),
        Cell::Bytes(value) => value.map(|bytes| STANDARD.encode(bytes)).into(),
    }
}

/// The columns of the list of objects.
pub(crate) fn object_header() -> [Column; 3] {
    let column = |name: &str, kind| Column { name: name.to_owned(), kind };
    [column("kind", ColumnKind::Text), column("file_hash", ColumnKind::Text), column("file_size", ColumnKind::Integer)]
}

/// An object as the list shows it; adds its size to `bytes`.
fn object_row(row: Vec<Cell>, bytes: &mut u64) -> Result<Vec<Cell>> {
    let wrong = || Error::internal("an object in the database: its SHA-256 or its size");
    let Ok([kind, Cell::Bytes(Some(hash)), Cell::Integer(Some(size))]) = <[Cell; 3]>::try_from(row) else {
        return Err(wrong());
    };
    let hash = Sha256::from_bytes(hash.try_into().map_err(|_| wrong())?);
    *bytes += u64::try_from(size).map_err(|_| wrong())?;
    Ok(vec![kind, Cell::Text(Some(hash.to_nix32())), Cell::Integer(Some(size))])
}

/// The first line of a file of rows.
pub(crate) fn header(columns: &[Column]) -> Value {
    columns.iter().map(|column| json!([column.name, column.kind.as_str()])).collect()
}

/// Makes the folder, or takes an empty one.
fn prepare(folder: &Path, force: bool) -> Result<()> {
    let failed = |source| unwritten(folder, source);
    let mut found = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                found.push(entry.map_err(failed)?.file_name());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let shown = folder.display();
    let conflict = |message| Err(Error::Conflict { field: "", message });
    if found.iter().any(|name| name == DESCRIPTION) {
        return conflict(format!("{shown} holds a whole backup; give another folder"));
    }
    if let Some(foreign) = found.iter().find(|name| ![TABLES, OBJECTS, UNFINISHED].iter().any(|own| *name == *own)) {
        return conflict(format!("{shown} is not empty, it holds {}; give another folder", foreign.display()));
    }
    if !found.is_empty() && !force {
        return conflict(format!("{shown} holds a backup that ended too soon; --force writes over it"));
    }
    for name in found {
        let path = folder.join(name);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(failed)?;
    }
    // Password hashes are in it.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(TABLES)).map_err(failed)
}

/// Makes the folder a backup, in one step that outlasts a power cut.
fn describe(folder: &Path, backup: &Backup) -> Result<()> {
    let text = serde_json::to_string_pretty(backup).map_err(|error| unwritten(folder, error.into()))?;
    let write = || {
        File::open(folder.join(TABLES))?.sync_all()?;
        let unfinished = folder.join(UNFINISHED);
        let mut file = create(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(DESCRIPTION))?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| unwritten(&folder.join(DESCRIPTION), error))
}

fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn unwritten(path: &Path, source: io::Error) -> Error {
    Error::Internal { what: format!("{} could not be written", path.display()), source: Some(source.into()) }
}

/// A file of lines in the making; packed and written off the async threads.
struct Lines {
    path: PathBuf,
    /// Gone only while a block is packed.
    encoder: Option<Encoder<File>>,
    block: Vec<u8>,
}

impl Lines {
    fn begin(path: PathBuf, columns: &[Column]) -> Result<Lines> {
        let file = create(&path).map_err(|error| unwritten(&path, error))?;
        let block = format!("{}\n", header(columns)).into_bytes();
        Ok(Lines { path, encoder: Some(Encoder::zstd_checked(file)), block })
    }

    async fn push(&mut self, row: Value) -> Result<()> {
        writeln!(self.block, "{row}").map_err(|error| unwritten(&self.path, error))?;
        if self.block.len() < BLOCK { Ok(()) } else { self.pack().await }
    }

    async fn pack(&mut self) -> Result<()> {
        let (encoder, mut block) = (self.encoder.take(), std::mem::take(&mut self.block));
        let packed = tokio::task::spawn_blocking(move || {
            let mut encoder = encoder.ok_or_else(|| io::Error::other("an earlier block was not written"))?;
            encoder.feed(&block)?;
            block.clear();
            io::Result::Ok((encoder, block))
        });
        let (encoder, block) = packed.await?.map_err(|error| unwritten(&self.path, error))?;
        (self.encoder, self.block) = (Some(encoder), block);
        Ok(())
    }

    async fn finish(mut self) -> Result<()> {
        self.pack().await?;
        let Lines { path, encoder, .. } = self;
        let done = tokio::task::spawn_blocking(move || match encoder {
            Some(encoder) => encoder.finish()?.sync_all(),
            None => Ok(()),
        });
        done.await?.map_err(|error| unwritten(&path, error))
    }
}
