//! The ledger of one private data set: what ran on it, written down before it runs.
//!
//! A file of JSON lines that only grows. The first says whose ledger it is: data set, unit of
//! protection, adjacency, budget. Each charge is an *intent* that is on the disk before any noise
//! is drawn, and a *result* after it. Every line carries the hash of the one before, so that a line
//! that was lost or edited before the last shows. What happens to the end shows where a label was
//! made before: it holds the hash of the last line of then.
//!
//! # Guarantee
//! Everything that was ever drawn through the ledger is within its budget, under the ledger's
//! adjacency, because
//! - a draw needs a charge that the [`Filter`] let through, and the noise source is inside: there
//!   is no other way to it than [`Draws`], which makes the draws that were charged, with the
//!   parameters that were charged, and no others;
//! - what is written is read back first, by the reader itself, so that no line can be there that
//!   closes the ledger for good;
//! - the intent is durable (written and synced) first. If that fails, nothing is drawn and nothing
//!   more is charged;
//! - an intent without a result counts as spent: after a crash nobody knows whether it was drawn.
//!   It is never drawn again;
//! - a second process is refused while a first holds the ledger: the operating system's lock on a
//!   file beside it and, on Unix, on the ledger itself, whatever name it is reached by;
//! - two ledgers are never taken for one: each has a random number in its first line.
//!
//! The tests try every sequence of charges, crashes and restarts up to a length. What no ledger
//! sees is what bypasses it: a copy of the data, a reader of the private files, somebody who writes
//! the ledger's end anew, or puts yesterday's copy in its place, where no label tells of what is
//! gone.
//!
//! # Stamps
//! [`Stamp::Release`]: one budget for all runs. [`Stamp::Benchmark`]: several epsilons and seeds on
//! one data set; each named run has the budget for itself, and nothing of it may be released:
//! [`Ledger::label`] gives no guarantee. [`Stamp::Void`]: test noise was drawn, or an invariant
//! failed. A stamp can only get worse.

use std::collections::BTreeSet;
use std::fmt;
#[cfg(unix)]
use std::fs::TryLockError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use artifact::{Access, DpGuarantee, Guarantee, LedgerMark, OutputLock, sha256_bytes};
use dp_noise::{NoiseSource, SystemNoise};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draws::Draws;
use crate::filter::{Budget, Cap, Filter};
use crate::{Adjacency, Error, Mechanism, Result};

/// What a ledger's charges may be used for, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stamp {
    /// Results may be released under the budget's guarantee.
    Release,
    /// Runs are compared with each other; nothing is released.
    Benchmark,
    /// No claim of any kind.
    Void,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format: 1.
    pub ledger: u32,
    /// The private data set: a name or a salted hash. Not a hash of the data alone, which reveals
    /// it to anybody that can guess it.
    pub dataset: String,
    /// What is protected, in words, e.g. "all records of one shard".
    pub unit: String,
    /// Which data sets are neighbours.
    pub adjacency: Adjacency,
    /// What may be spent.
    pub budget: Budget,
    /// What it was made for.
    pub stamp: Stamp,
}

impl Header {
    /// That of a ledger for `caps` alone, whose results are to be released.
    pub fn of_caps(
        dataset: &str,
        unit: &str,
        adjacency: Adjacency,
        (epsilon, delta): (f64, f64),
        caps: Vec<Cap>,
    ) -> Self {
        Self {
            ledger: 1,
            dataset: dataset.to_owned(),
            unit: unit.to_owned(),
            adjacency,
            budget: Budget::Caps { epsilon, delta, caps },
            stamp: Stamp::Release,
        }
    }
}

/// What is about to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// With the parameters that it will have.
    pub mechanism: Mechanism,
    /// How many runs.
    pub count: u64,
    /// The adjacency that the mechanism's parameters are stated under: the ledger's, or it is
    /// refused. [`Mechanism::converted`] converts.
    pub adjacency: Adjacency,
    /// Which run of several, where a benchmark compares some.
    pub run: String,
    /// For what, in words.
    pub purpose: String,
    /// The adjacency that it was stated under before it was [converted](Charge::converted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converted_from: Option<Adjacency>,
}

impl Charge {
    /// One run of a mechanism, stated under `adjacency`.
    pub fn new(mechanism: Mechanism, adjacency: Adjacency, run: &str, purpose: &str) -> Self {
        let (run, purpose) = (run.to_owned(), purpose.to_owned());
        Self { mechanism, count: 1, adjacency, run, purpose, converted_from: None }
    }

    /// The same under the adjacency `to`, by [`Mechanism::converted`]; the ledger shows where it
    /// comes from.
    ///
    /// # Errors
    /// As there.
    pub fn converted(self, to: Adjacency) -> Result<Self> {
        if self.adjacency == to {
            return Ok(self);
        }
        let mechanism = self.mechanism.converted(self.adjacency, to)?;
        Ok(Self { mechanism, adjacency: to, converted_from: Some(self.adjacency), ..self })
    }

    /// Whether it may be counted under `adjacency`: it is stated under it, or was converted to it
    /// in a way that there is.
    pub fn is_stated_under(&self, adjacency: Adjacency) -> bool {
        let converts = |from: Adjacency| self.mechanism.converted(from, adjacency).is_ok();
        self.adjacency == adjacency
            && (self.mechanism.is_stated_under(adjacency) || self.converted_from.is_some_and(converts))
    }
}

/// A line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// Counts as spent from here on.
    Intent(Charge),
    /// The charge of entry `of` was drawn, and this came out: public from here on.
    Result {
        /// The intent's number.
        of: u64,
        /// What was released; its hash and size where that is more than a megabyte, or could not be
        /// read back.
        outcome: Value,
    },
    /// The ledger is good for less than before.
    Stamp {
        /// The new stamp.
        stamp: Stamp,
        /// Why.
        reason: String,
    },
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    /// SHA-256 of nothing.
    previous: String,
    /// Random: the ledger's own.
    number: String,
    header: Header,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// SHA-256 of the line before, without its end.
    previous: String,
    /// 1 for the first line after the header.
    entry: u64,
    what: Entry,
}

/// Where lines are kept. A file does; tests have a disk that fails.
pub trait Store {
    /// Everything that is there.
    ///
    /// # Errors
    /// The operating system's.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Adds bytes at the end and makes them durable.
    ///
    /// # Errors
    /// The operating system's; none, some or all of the bytes may be there then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes off what is after `length` bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A ledger's file, locked for this process while the value lives.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    _lock: OutputLock,
}

impl Drop for FileStore {
    fn drop(&mut self) {
        // Closing is not enough: a child that was born meanwhile has the file, too, until it runs
        // its own program.
        let _ = self.file.unlock();
    }
}

impl Store for FileStore {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        read_all(&mut self.file)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(bytes)?;
        self.file.sync_all()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()
    }
}

/// Ledgers larger than this are neither read nor written: 256 MiB, a million entries.
const LARGEST: u64 = 1 << 28;

/// Outcomes larger than this are written down as their hash.
const LARGEST_OUTCOME: usize = 1 << 20;

/// Outcomes of more values than this are written down as their hash: in memory each takes some
/// dozens of bytes.
const MOST_VALUES: usize = 1 << 16;

/// Values in all outcomes of a ledger together: half a gigabyte of memory.
const ALL_VALUES: usize = 1 << 23;

/// Room that is kept for a result when its intent is written, and for a stamp; no line is longer.
const ROOM: u64 = 2 << 20;

/// A line as every reader of a ledger sees it.
fn read_line<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    if bytes.len() as u64 > ROOM {
        return Err(format!("it has {} bytes, and a line has {ROOM} at most", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let value = artifact::json::parse(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// How many values there are in one.
fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(fields) => fields.values().map(values).sum(),
        _ => 0,
    }
}

fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is larger than 256 MiB: no ledger of ours",
        ));
    }
    Ok(bytes)
}

/// What a ledger says, checked line by line.
#[derive(Clone, Debug)]
pub struct Account {
    /// The first line.
    pub header: Header,
    /// The lines after it.
    pub entries: Vec<Entry>,
    /// The worst stamp so far.
    pub stamp: Stamp,
    /// Bytes at the end that are no complete line: a write that was cut off, of something that
    /// therefore never ran.
    pub torn: usize,
    filters: Vec<(String, Filter)>,
    open: BTreeSet<u64>,
    id: String,
    last: String,
    length: u64,
    /// In all outcomes.
    values: usize,
    ends_with_line: bool,
}

impl Account {
    /// Reads a ledger that someone else may be writing, without locking or changing it.
    ///
    /// # Errors
    /// A file that cannot be read, is no regular file of at most 256 MiB, or is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let read = |source| artifact::Error::Read { path: path.to_path_buf(), source };
        Self::parse(path, &input_file::read(path, LARGEST).map_err(read)?)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |line: usize, reason: String| Error::Damaged { path: path.to_path_buf(), line, reason };
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        // After the last line's end there is nothing, or a line whose end is missing.
        let tail = lines.pop().unwrap_or_default();
        let complete_tail = !tail.is_empty() && serde_json::from_slice::<IgnoredAny>(tail).is_ok();
        if complete_tail {
            // It may have been drawn: an editor can have taken the line's end off.
            lines.push(tail);
        }
        let mut lines = lines.into_iter().enumerate();
        let Some((_, first)) = lines.next() else {
            return Err(damaged(1, "it is empty, or its first line is cut off".to_owned()));
        };
        let header: First =
            read_line(first).map_err(|error| damaged(1, format!("no ledger's header: {error}")))?;
        if header.previous != sha256_bytes(b"") {
            return Err(damaged(1, "it does not begin a ledger: lines before it are missing".to_owned()));
        }
        let header = header.header;
        if header.ledger != 1 {
            let reason =
                format!("its format is {}, and this program knows 1; take a newer program", header.ledger);
            return Err(damaged(1, reason));
        }
        let mut account = Self {
            filters: Vec::new(),
            open: BTreeSet::new(),
            entries: Vec::new(),
            stamp: header.stamp,
            torn: if complete_tail { 0 } else { tail.len() },
            id: sha256_bytes(first),
            last: sha256_bytes(first),
            length: first.len() as u64 + 1,
            values: 0,
            ends_with_line: !complete_tail,
            header,
        };
        // A budget that means nothing is no budget.
        Filter::new(&account.header.budget)?;
        for (i, line) in lines {
            let entry: Line =
                read_line(line).map_err(|error| damaged(i + 1, format!("no ledger's entry: {error}")))?;
            if entry.previous != account.last {
                let reason = "its hash of the line before does not match: a line was changed, added or lost";
                return Err(damaged(i + 1, reason.to_owned()));
            }
            if entry.entry != i as u64 {
                return Err(damaged(i + 1, format!("it is entry {}, and {i} is due", entry.entry)));
            }
            account.take(entry.what).map_err(|error| damaged(i + 1, error.to_string()))?;
            account.last = sha256_bytes(line);
            account.length += line.len() as u64 + 1;
        }
        if complete_tail {
            account.length -= 1;
        }
        Ok(account)
    }

    /// Applies an entry, or says why it cannot be one.
    fn take(&mut self, entry: Entry) -> Result<()> {
        match &entry {
            Entry::Intent(charge) => {
                let filter = self.checked(charge)?;
                let name = self.filter_name(charge);
                match self.filters.iter_mut().find(|(run, _)| *run == name) {
                    Some((_, place)) => *place = filter,
                    None => self.filters.push((name, filter)),
                }
                self.open.insert(self.entries.len() as u64 + 1);
            }
            Entry::Result { of, outcome } => {
                let more = values(outcome);
                if more > ALL_VALUES.saturating_sub(self.values) {
                    return Err(Error::TooLarge {
                        need: self.values as f64 + more as f64,
                        limit: ALL_VALUES,
                        hint: "a ledger of ours holds no more values in its outcomes",
                    });
                }
                if !self.open.remove(of) {
                    let reason = format!("a result of entry {of}, which is no open intent");
                    return Err(Error::Ledger { path: PathBuf::new(), reason });
                }
                self.values += more;
            }
            Entry::Stamp { stamp, .. } => self.stamp = self.stamp.max(*stamp),
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The filter after the charge, if it may be made.
    fn checked(&self, charge: &Charge) -> Result<Filter> {
        let adjacency = self.header.adjacency;
        if !charge.is_stated_under(adjacency) {
            let found = if charge.adjacency == adjacency {
                "another relation, whatever the charge says".to_owned()
            } else {
                charge.adjacency.words().to_owned()
            };
            return Err(Error::Adjacency {
                ledger: adjacency.words().to_owned(),
                mechanism: charge.mechanism.to_string(),
                found,
            });
        }
        let name = self.filter_name(charge);
        let mut filter = match self.filters.iter().find(|(run, _)| *run == name) {
            Some((_, filter)) => filter.clone(),
            None => Filter::new(&self.header.budget)?,
        };
        filter.charge(&charge.mechanism, charge.count)?;
        Ok(filter)
    }

    /// Runs of a benchmark are counted by themselves; those of a release are one.
    fn filter_name(&self, charge: &Charge) -> String {
        if self.header.stamp == Stamp::Benchmark { charge.run.clone() } else { String::new() }
    }

    /// What was charged in all, by mechanism, in the order of first use.
    pub fn totals(&self) -> Vec<(Mechanism, u64)> {
        let mut totals: Vec<(Mechanism, u64)> = Vec::new();
        for entry in &self.entries {
            if let Entry::Intent(charge) = entry {
                match totals.iter_mut().find(|(mechanism, _)| *mechanism == charge.mechanism) {
                    Some((_, count)) => *count = count.saturating_add(charge.count),
                    None => totals.push((charge.mechanism, charge.count)),
                }
            }
        }
        totals
    }

    /// Numbers of the intents without a result: spent, and never drawn again.
    pub fn open(&self) -> Vec<u64> {
        self.open.iter().copied().collect()
    }

    /// The fraction of the budget that is spent, from 0 to 1; of the run that spent most, in a
    /// benchmark.
    pub fn fraction_spent(&self) -> f64 {
        self.filters.iter().map(|(_, filter)| filter.fraction_spent()).fold(0.0, f64::max)
    }

    /// The label of what came out of it: the budget's (epsilon, delta) where the stamp is
    /// [`Stamp::Release`]. What happened to be spent is no guarantee, since it may depend on the
    /// data.
    pub fn label(&self) -> Guarantee {
        let reason = || {
            self.entries.iter().rev().find_map(|entry| match entry {
                Entry::Stamp { stamp, reason } if *stamp == self.stamp => Some(reason.clone()),
                _ => None,
            })
        };
        match self.stamp {
            Stamp::Release => {
                let (epsilon, delta) = self.header.budget.epsilon_delta();
                let parts: Vec<String> = self
                    .totals()
                    .iter()
                    .map(|(mechanism, count)| format!("{count} of {mechanism}"))
                    .collect();
                Guarantee::Dp(DpGuarantee {
                    epsilon,
                    delta,
                    unit: self.header.unit.clone(),
                    adjacency: self.header.adjacency.words().to_owned(),
                    mechanism: if parts.is_empty() { "nothing yet".to_owned() } else { parts.join(", ") },
                    accountant: format!(
                        "{}; dp-accounting {}",
                        self.header.budget.words(),
                        env!("CARGO_PKG_VERSION")
                    ),
                    dataset: self.header.dataset.clone(),
                    ledger: Some(LedgerMark {
                        id: self.id.clone(),
                        entries: self.entries.len() as u64,
                        head: self.last.clone(),
                    }),
                })
            }
            Stamp::Benchmark => Guarantee::none(format!(
                "a benchmark ledger: several runs on one private data set were compared, and each was charged by itself{}",
                reason().map(|reason| format!(" ({reason})")).unwrap_or_default()
            )),
            Stamp::Void => Guarantee::Void {
                reason: reason().unwrap_or_else(|| "the ledger is stamped void".to_owned()),
            },
        }
    }
}

/// A ledger that can be charged, with the only way to its noise.
pub struct Ledger<S, D = FileStore> {
    path: PathBuf,
    account: Account,
    store: D,
    noise: S,
    /// After a write that failed nobody knows what the disk holds.
    failed: bool,
}

impl<S, D> fmt::Debug for Ledger<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("path", &self.path)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl<S: NoiseSource> Ledger<S, FileStore> {
    /// Starts a data set's ledger.
    ///
    /// # Errors
    /// A file that is there already; a budget that means nothing; a folder that cannot be written
    /// to.
    pub fn create(path: &Path, header: &Header, noise: S) -> Result<Self> {
        Filter::new(&header.budget)?;
        let folders = folders_to_make(path);
        let lock = hold(path)?;
        if path.exists() {
            let reason =
                "a ledger is there already; open it: a data set has one, and never a second".to_owned();
            return Err(Error::Ledger { path: path.to_path_buf(), reason });
        }
        artifact::write_bytes(path, Access::Private, &first_line(path, header)?)?;
        // The names of folders that were made have to survive a power cut as well.
        for folder in folders {
            sync_folder_of(&folder).map_err(durability(path))?;
        }
        Self::open_locked(path, noise, lock)
    }

    /// Goes on with a data set's ledger. A line that was cut off when it was written is removed: it
    /// was never acted on.
    ///
    /// # Errors
    /// Another process that holds it; a file that is not there, cannot be read, or is damaged.
    pub fn open(path: &Path, noise: S) -> Result<Self> {
        let read = |source| artifact::Error::Read { path: path.to_path_buf(), source };
        // Neither a pipe nor a device, and no file of the kernel's.
        if let Err(error) = input_file::open(path) {
            if error.kind() == io::ErrorKind::NotFound {
                let reason =
                    "no ledger is there; create one, or give the path of the data set's own".to_owned();
                return Err(Error::Ledger { path: path.to_path_buf(), reason });
            }
            return Err(read(error).into());
        }
        // Beside the file itself, where a link led to it.
        let path = fs::canonicalize(path).map_err(read)?;
        let lock = hold(&path)?;
        Self::open_locked(&path, noise, lock)
    }

    fn open_locked(path: &Path, noise: S, lock: OutputLock) -> Result<Self> {
        let read = |source| artifact::Error::Read { path: path.to_path_buf(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(read)?;
        // A second name of the file has another lock beside it. Elsewhere a lock would keep readers
        // out, too.
        #[cfg(unix)]
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(path, "another process, by another name"),
            TryLockError::Error(source) => read(source).into(),
        })?;
        let store = FileStore { file, _lock: lock };
        // The process that made it may have been stopped before this.
        sync_folder_of(path).map_err(durability(path))?;
        Self::with_store(path, store, noise)
    }
}

/// The file beside a ledger, locked.
fn hold(path: &Path) -> Result<OutputLock> {
    OutputLock::acquire_file(path, "a privacy ledger").map_err(|error| match error {
        artifact::Error::Locked { path, holder } => in_use(&path, &holder),
        other => other.into(),
    })
}

fn in_use(path: &Path, holder: &str) -> Error {
    Error::Ledger {
        path: path.to_path_buf(),
        reason: format!("it is in use by {holder}; wait for that, or stop it"),
    }
}

/// The folders above `path` that are not there yet.
fn folders_to_make(path: &Path) -> Vec<PathBuf> {
    let named = path.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty());
    named.take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect()
}

/// Makes the name of `path` durable. Where folders cannot be synced the operating system keeps
/// names itself.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn first_line(path: &Path, header: &Header) -> Result<Vec<u8>> {
    let mut noise = SystemNoise::new()
        .map_err(|error| Error::Ledger { path: path.to_path_buf(), reason: error.to_string() })?;
    let number = format!("{:016x}{:016x}", noise.next_u64(), noise.next_u64());
    let first = First { previous: sha256_bytes(b""), number, header: header.clone() };
    let (bytes, back) = line_of(path, &first)?;
    // What a reader will find has to be a budget as well.
    Filter::new(&back.header.budget)?;
    Ok(bytes)
}

/// The line's bytes, and what a reader makes of them: the same, or it is not written.
fn line_of<T: Serialize + DeserializeOwned + PartialEq>(path: &Path, line: &T) -> Result<(Vec<u8>, T)> {
    let refused = |reason: String| Error::Ledger {
        path: path.to_path_buf(),
        reason: format!("refused before it was written, since it could not be read again: {reason}"),
    };
    let mut bytes = serde_json::to_vec(line).map_err(|error| refused(error.to_string()))?;
    let back: T = read_line(&bytes).map_err(refused)?;
    if back != *line {
        return Err(refused(
            "a value in it has no JSON form, such as a number that is not finite".to_owned(),
        ));
    }
    bytes.push(b'\n');
    Ok((bytes, back))
}

fn durability(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::Durability { path, source }
}

impl<S: NoiseSource, D: Store> Ledger<S, D> {
    /// A ledger in a store that holds its first line already, and that nobody else writes to.
    /// `path` is for messages.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn with_store(path: &Path, mut store: D, noise: S) -> Result<Self> {
        let bytes =
            store.read().map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
        let mut account = Account::parse(path, &bytes)?;
        if account.torn > 0 {
            store.cut(account.length).map_err(durability(path))?;
            account.torn = 0;
        }
        if !account.ends_with_line {
            store.append(b"\n").map_err(durability(path))?;
            account.length += 1;
            account.ends_with_line = true;
        }
        let mut ledger = Self { path: path.to_path_buf(), account, store, noise, failed: false };
        if !S::SECRET {
            ledger.degrade(Stamp::Void, "its noise came from a test source")?;
        }
        Ok(ledger)
    }

    /// The first line that [`Ledger::with_store`] expects.
    ///
    /// # Errors
    /// A budget that means nothing.
    pub fn start(header: &Header) -> Result<Vec<u8>> {
        Filter::new(&header.budget)?;
        first_line(Path::new("ledger"), header)
    }

    /// Charges, draws, and writes down what came out: the only way to the noise.
    ///
    /// `draw` gets the [`Draws`] that the charge pays for: as many as it counts, of its mechanism,
    /// with its parameters. What it returns is released, so it must hold nothing else of the
    /// private data. If the process ends inside, or `draw` panics or fails, the charge stays spent,
    /// and the intent stays without a result.
    ///
    /// An outcome that is larger than a megabyte, has more than 65,536 values, or cannot be read
    /// back (nested more than 120 deep, say) is written down as the hash and the length of its
    /// JSON; it is returned as it is. Numbers that are not finite are null in JSON.
    ///
    /// # Errors
    /// [`Error::Overspent`], [`Error::Adjacency`], [`Error::Unsupported`]: refused, nothing was
    /// written or drawn. [`Error::Durability`]: nothing more can be charged through this value;
    /// where it comes after the draw, the outcome is lost and its cost is not.
    pub fn run<T: Serialize>(
        &mut self,
        charge: Charge,
        draw: impl FnOnce(&mut Draws<'_, S>) -> Result<T>,
    ) -> Result<T> {
        // A refusal has to come before anything is written.
        self.account.checked(&charge)?;
        let (mechanism, count) = (charge.mechanism, charge.count);
        self.write(Entry::Intent(charge))?;
        let of = self.account.entries.len() as u64;
        let drawn = draw(&mut Draws::new(&mut self.noise, mechanism, count))?;
        let outcome = self.outcome(of, &drawn);
        self.write(Entry::Result { of, outcome })?;
        Ok(drawn)
    }

    /// The largest count, up to the charge's own, that [`Ledger::run`] would let through now.
    ///
    /// # Errors
    /// A charge that is refused for another reason than the budget.
    pub fn affordable(&self, charge: &Charge) -> Result<u64> {
        let fits = |count: u64| match self.account.checked(&Charge { count, ..charge.clone() }) {
            Ok(_) => Ok(true),
            Err(Error::Overspent { .. }) => Ok(false),
            Err(other) => Err(other),
        };
        if fits(charge.count)? {
            return Ok(charge.count);
        }
        // Costs grow with the count.
        let (mut fit, mut too_many) = (0, charge.count);
        while too_many - fit > 1 {
            let middle = fit + (too_many - fit) / 2;
            if fits(middle)? { fit = middle } else { too_many = middle }
        }
        Ok(fit)
    }

    /// What is written down of a result.
    fn outcome(&self, of: u64, drawn: &impl Serialize) -> Value {
        let Ok(text) = serde_json::to_string(drawn) else { return json!("not representable") };
        let hashed = || json!({"sha256_of_json": sha256_bytes(text.as_bytes()), "bytes": text.len()});
        let Ok(outcome) = serde_json::to_value(drawn) else { return hashed() };
        if text.len() > LARGEST_OUTCOME || values(&outcome) > MOST_VALUES {
            return hashed();
        }
        let entry = Entry::Result { of, outcome: outcome.clone() };
        if line_of(&self.path, &self.next_line(entry)).is_ok() { outcome } else { hashed() }
    }

    fn next_line(&self, what: Entry) -> Line {
        let entry = self.account.entries.len() as u64 + 1;
        Line { previous: self.account.last.clone(), entry, what }
    }

    /// Stamps the ledger for less than before; a better stamp than it has changes nothing.
    ///
    /// # Errors
    /// [`Error::Durability`].
    pub fn degrade(&mut self, stamp: Stamp, reason: &str) -> Result<()> {
        if stamp <= self.account.stamp {
            return Ok(());
        }
        self.write(Entry::Stamp { stamp, reason: reason.to_owned() })
    }

    /// What it says by now.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// [`Account::label`].
    pub fn label(&self) -> Guarantee {
        self.account.label()
    }

    fn write(&mut self, what: Entry) -> Result<()> {
        if self.failed {
            let source = io::Error::other("an earlier write failed");
            return Err(durability(&self.path)(source));
        }
        let is_intent = matches!(what, Entry::Intent(_));
        let (line, Line { what, .. }) = line_of(&self.path, &self.next_line(what))?;
        let room = if is_intent { ROOM } else { 0 };
        let holds = self.account.length + line.len() as u64 + room <= LARGEST;
        if !holds || (is_intent && self.account.values + MOST_VALUES > ALL_VALUES) {
            let reason =
                "it is full (256 MiB, or 8 million values); nothing more can be charged to it".to_owned();
            return Err(Error::Ledger { path: self.path.clone(), reason });
        }
        if let Err(source) = self.store.append(&line) {
            self.failed = true;
            return Err(durability(&self.path)(source));
        }
        self.account.take(what)?;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        self.account.last = sha256_bytes(text);
        self.account.length += line.len() as u64;
        Ok(())
    }
}
