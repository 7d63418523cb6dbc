//! Fills an empty database from a backup, whole or not at all, and looks which of the objects that it names are in the storage. Trusts
//! no byte of the files.

use crate::{
    backup::{Backup, DESCRIPTION, FORMAT, OBJECTS, Progress, TABLES, header, object_header},
    blob::{Blob, Kind, StorageSettings},
    codec::{self, Decoder},
    db::{
        Location,
        dump::{self, Cell, Column, ColumnKind},
        load::Load,
    },
    error::{Error, Result},
    storage::{STORE_ID, STORE_ID_TO_BE},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{StreamExt, TryStreamExt, stream};
use nix_compat::{compression::Compression, nixhash::Sha256};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Longest `backup.json` and longest row that are read, in bytes.
const DESCRIPTION_MAX: u64 = 1 << 20;
const ROW_MAX: u64 = 64 << 20;
/// Bytes of rows after which a batch is full.
const BATCH_BYTES: usize = 1 << 20;
/// Objects that are looked for at once.
const OBJECT_BATCH: usize = 1000;
/// Objects that a report names.
const NAMED: usize = 10;
/// Questions to the storage at a time.
const LOOKS_AT_ONCE: usize = 16;

/// What a restore did and found.
#[derive(Clone, Debug)]
pub struct Restored {
    pub backup: Backup,
    /// Objects that the storage lacks, and those that it has in another size.
    pub missing: u64,
    pub other_size: u64,
    /// The first of them, as `nar 1b8m03r63z… is missing`.
    pub first: Vec<String>,
}

impl Restored {
    pub fn is_whole(&self) -> bool {
        self.missing + self.other_size == 0
    }
}

/// Restores into an empty database, brings the schema up to date, and compares the objects that are named with those in `storage`.
/// An object that is not there is told of in the answer; the database is restored all the same.
///
/// # Errors
/// [`Error::Invalid`] for what is no backup of a known format and schema or is damaged, naming file and line;
/// [`Error::Conflict`] for a database that holds something or is in use. The database is then what it was.
pub async fn restore(
    folder: &Path,
    location: &Location,
    storage: &StorageSettings,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Restored> {
    let backup = read_description(folder)?;
    let mut tables: Vec<String> = dump::catalog(backup.schema).await?.into_iter().map(|table| table.name).collect();
    tables.sort_unstable();
    if !tables.iter().eq(backup.tables.keys()) {
        let what = format!("its tables are not those of schema {}", backup.schema);
        return Err(Error::invalid("", format!("{}: {what}", folder.join(DESCRIPTION).display())));
    }
    // The list is read to its end before anything is changed, and again when all is done.
    let mut objects = Objects::open(folder, &backup).await?;
    while !objects.next().await?.is_empty() {}

    let mut load = Load::begin(location, backup.schema).await?;
    if let Err(error) = fill(&mut load, folder, &backup, progress).await {
        // What went wrong first is what counts; a transaction that is not committed leaves nothing.
        let _ = load.abandon().await;
        return Err(error);
    }
    // The database that the backup is of may still be in use, and the storage is its own: this one asks for another, or is given it.
    load.forget_settings(&[STORE_ID, STORE_ID_TO_BE]).await?;
    load.commit().await?;
    compare(folder, backup, storage, progress).await
}

fn read_description(folder: &Path) -> Result<Backup> {
    let path = folder.join(DESCRIPTION);
    let shown = path.display();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = "it holds no backup, or one that did not come to its end";
            return Err(Error::invalid("", format!("{}: {what}: {DESCRIPTION} is missing", folder.display())));
        }
        Err(error) => return Err(unread(&path, error)),
    };
    let mut text = Vec::new();
    file.take(DESCRIPTION_MAX).read_to_end(&mut text).map_err(|error| unread(&path, error))?;
    // The format first: what a later one looks like is not known.
    let value: Value =
        serde_json::from_slice(&text).map_err(|error| Error::invalid("", format!("{shown}: {error}")))?;
    match value["format"].as_u64() {
        Some(format) if format > u64::from(FORMAT) => {
            let what = format!("it has format {format}, and this program reads {FORMAT}; use a newer iglu");
            return Err(Error::invalid("", format!("{shown}: {what}")));
        }
        _ => {}
    }
    let backup: Backup =
        serde_json::from_value(value).map_err(|error| Error::invalid("", format!("{shown}: {error}")))?;
    if !backup.complete {
        return Err(Error::invalid("", format!("{shown}: the backup did not come to its end")));
    }
    if backup.schema > dump::newest_schema() {
        return Err(dump::newer(&format!("{shown}: made by iglu {} with", backup.iglu), backup.schema));
    }
    Ok(backup)
}

async fn fill(load: &mut Load, folder: &Path, backup: &Backup, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<()> {
    for table in load.tables().to_vec() {
        let expected = backup.tables.get(&table.name).copied().unwrap_or_default();
        let path = folder.join(TABLES).join(format!("{}.jsonl.zst", table.name));
        let mut lines = Lines::open(path, &table.columns, expected).await?;
        loop {
            let first = lines.line + 1;
            let rows = lines.next(Load::batch(&table)).await?;
            if rows.is_empty() {
                break;
            }
            load.insert(&table, rows).await.map_err(|error| match error.as_database_error() {
                Some(said) => {
                    let what = format!("lines {first} to {}: the database does not take them: {said}", lines.line);
                    Error::invalid("", format!("{}: {what}", lines.path.display()))
                }
                None => error.into(),
            })?;
            progress(Progress { what: &table.name, done: lines.line - 1, of: Some(expected) });
        }
    }
    Ok(())
}

/// Looks for every object that the backup names.
async fn compare(
    folder: &Path,
    backup: Backup,
    storage: &StorageSettings,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Restored> {
    let blob = Blob::open(storage)?;
    let mut objects = Objects::open(folder, &backup).await?;
    let of = Some(backup.objects.count);
    let mut restored = Restored { backup, missing: 0, other_size: 0, first: Vec::new() };
    loop {
        let batch = objects.next().await?;
        if batch.is_empty() {
            return Ok(restored);
        }
        for (object, stored) in stored_sizes(&blob, batch).await? {
            let name = || format!("{} {}", object.kind, object.file_hash.to_nix32());
            let what = match stored {
                Some(size) if size == object.size => continue,
                Some(size) => {
                    restored.other_size += 1;
                    format!("{} has {size} bytes instead of {}", name(), object.size)
                }
                None => {
                    restored.missing += 1;
                    format!("{} is missing", name())
                }
            };
            if restored.first.len() < NAMED {
                restored.first.push(what);
            }
        }
        progress(Progress { what: "objects", done: objects.lines.line - 1, of });
    }
}

/// The objects, each with its bytes in the storage: the only look that a restore takes at it.
async fn stored_sizes(blob: &Blob, objects: Vec<Object>) -> Result<Vec<(Object, Option<u64>)>> {
    let looks = stream::iter(objects).map(|object| async move {
        let kind = Kind::parse(object.kind).unwrap_or(Kind::Nar);
        let size = blob.size(kind, &object.file_hash).await?;
        Ok((object, size))
    });
    looks.buffered(LOOKS_AT_ONCE).try_collect().await
}

/// An object that rows name.
struct Object {
    /// `nar` or `log`.
    kind: &'static str,
    file_hash: Sha256,
    size: u64,
}

/// The list of objects.
struct Objects {
    lines: Lines,
    bytes: u64,
    expected_bytes: u64,
}

impl Objects {
    async fn open(folder: &Path, backup: &Backup) -> Result<Objects> {
        let lines = Lines::open(folder.join(OBJECTS), &object_header(), backup.objects.count).await?;
        Ok(Objects { lines, bytes: 0, expected_bytes: backup.objects.bytes })
    }

    /// The next objects, none at the end.
    async fn next(&mut self) -> Result<Vec<Object>> {
        let first = self.lines.line + 1;
        let rows = self.lines.next(OBJECT_BATCH).await?;
        if rows.is_empty() && self.bytes != self.expected_bytes {
            return Err(self.lines.damaged(self.lines.line, "the sizes do not add up to what backup.json says"));
        }
        let mut objects = Vec::with_capacity(rows.len());
        for (line, row) in (first..).zip(rows) {
            let object = object(row).ok_or_else(|| self.lines.damaged(line, "this is no object"))?;
            self.bytes = self.bytes.saturating_add(object.size);
            objects.push(object);
        }
        Ok(objects)
    }
}

fn object(row: Vec<Cell>) -> Option<Object> {
    let Ok([Cell::Text(Some(kind)), Cell::Text(Some(hash)), Cell::Integer(Some(size))]) = <[Cell; 3]>::try_from(row)
    else {
        return None;
    };
    let kind = ["nar", "log"].into_iter().find(|known| *known == kind)?;
    Some(Object { kind, file_hash: Sha256::parse_nix32(&hash).ok()?, size: size.try_into().ok()? })
}

/// A file of rows, read and unpacked off the async threads.
struct Lines {
    path: PathBuf,
    /// Gone only while lines are read.
    source: Option<BufReader<Decoder<'static>>>,
    columns: Vec<Column>,
    /// Rows that there must be.
    expected: u64,
    /// Number of the last line that was read.
    line: u64,
}

impl Lines {
    /// Opens a file whose first line must name these columns.
    async fn open(path: PathBuf, columns: &[Column], expected: u64) -> Result<Lines> {
        let file = File::open(&path).map_err(|error| unread(&path, error))?;
        let source = codec::decoder(Compression::Zstd, BufReader::new(file)).map(BufReader::new);
        let mut lines = Lines { path, source, columns: columns.to_vec(), expected, line: 0 };
        let found = lines.read(1, |_, line| Ok(line)).await?.pop();
        match found {
            Some(found) if found == header(columns) => Ok(lines),
            Some(_) => Err(lines.damaged(1, "these are not the columns of the schema that backup.json names")),
            None => Err(lines.damaged(1, "the file is empty")),
        }
    }

    /// At most this many rows, fewer where they are large; none at the end.
    async fn next(&mut self, most: usize) -> Result<Vec<Vec<Cell>>> {
        let rows = self.read(most, row).await?;
        let found = self.line - 1;
        if rows.is_empty() && found != self.expected {
            let what = format!("the file ends here, with {found} rows of {}", self.expected);
            return Err(self.damaged(self.line, &what));
        }
        Ok(rows)
    }

    async fn read<T: Send + 'static>(
        &mut self,
        most: usize,
        parse: fn(&[Column], Value) -> Result<T, String>,
    ) -> Result<Vec<T>> {
        let mut source = self.source.take().ok_or_else(|| self.damaged(self.line, "an earlier line was not read"))?;
        let columns = std::mem::take(&mut self.columns);
        let read = tokio::task::spawn_blocking(move || {
            let (mut parsed, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
            while parsed.len() < most && bytes < BATCH_BYTES {
                let one = match next_line(&mut source, &mut line) {
                    Ok(true) => {
                        let value = serde_json::from_slice(&line).map_err(|error| error.to_string());
                        value.and_then(|value| parse(&columns, value))
                    }
                    Ok(false) => break,
                    Err(what) => Err(what),
                };
                // The number of the line in error.
                parsed.push(one.map_err(|what| (parsed.len() as u64 + 1, what))?);
                bytes += line.len();
            }
            Ok((source, columns, parsed))
        });
        let (source, columns, parsed) =
            read.await?.map_err(|(ahead, what): (u64, String)| self.damaged(self.line + ahead, &what))?;
        (self.source, self.columns) = (Some(source), columns);
        self.line += parsed.len() as u64;
        Ok(parsed)
    }

    fn damaged(&self, line: u64, what: &str) -> Error {
        Error::invalid("", format!("{}: line {line}: {what}", self.path.display()))
    }
}

/// Reads a line without its end into `line`. False at the end of the file.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, String> {
    line.clear();
    let read = source.take(ROW_MAX).read_until(b'\n', line).map_err(|error| format!("the file is damaged: {error}"))?;
    if read > 0 && line.pop() != Some(b'\n') {
        return Err(if read as u64 == ROW_MAX { "the line is too long" } else { "the line is cut short" }.to_owned());
    }
    Ok(read > 0)
}

fn row(columns: &[Column], value: Value) -> Result<Vec<Cell>, String> {
    let Value::Array(values) = value else { return Err("this is no array".to_owned()) };
    if values.len() != columns.len() {
        return Err(format!("the row has {} values for {} columns", values.len(), columns.len()));
    }
    let cells = values.into_iter().zip(columns);
    cells
        .map(|(value, column)| {
            cell(value, column.kind).ok_or_else(|| format!("{} is no {}", column.name, column.kind.as_str()))
        })
        .collect()
}

fn cell(value: Value, kind: ColumnKind) -> Option<Cell> {
    Some(match (kind, value) {
        (ColumnKind::Integer, Value::Null) => Cell::Integer(None),
        (ColumnKind::Integer, Value::Number(number)) => Cell::Integer(Some(number.as_i64()?)),
        (ColumnKind::Boolean, Value::Null) => Cell::Boolean(None),
        (ColumnKind::Boolean, Value::Bool(value)) => Cell::Boolean(Some(value)),
        (ColumnKind::Text, Value::Null) => Cell::Text(None),
        (ColumnKind::Text, Value::String(text)) => Cell::Text(Some(text)),
        (ColumnKind::Bytes, Value::Null) => Cell::Bytes(None),
        (ColumnKind::Bytes, Value::String(text)) => Cell::Bytes(Some(STANDARD.decode(text).ok()?)),
        _ => return None,
    })
}

fn unread(path: &Path, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::NotFound {
        return Error::invalid("", format!("{} is missing: the backup is damaged", path.display()));
    }
    Error::Internal { what: format!("{} could not be read", path.display()), source: Some(source.into()) }
}
