//! The ledger of a private data set.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use artifact::FileRecord;
use dp_accounting::Mechanism;
use dp_accounting::filter::Budget;
use dp_accounting::ledger::{Account, Entry, Header, Ledger};
use dp_accounting::spend::Spending;
use dp_noise::SystemNoise;
use pate_core::dp::Unprotected;

use crate::run::Context;

/// The ledger at `path`, with a fresh key of the operating system for its noise: begun with
/// `header`, or gone on with where it is there and is the same data set's.
///
/// # Errors
/// A ledger of another data set, relation or budget, one that is damaged, or in use.
pub fn open(path: &Path, header: &Header, ctx: &Context) -> Result<Ledger<SystemNoise>> {
    let noise = SystemNoise::new().context(NO_KEY)?;
    if !path.exists() {
        let ledger = Ledger::create(path, header, noise)?;
        // Two ledgers of one data set would each allow their whole budget.
        ctx.say(&format!(
            "{} is begun for \"{}\": if anything else ever ran on these records, its cost adds up; name its ledger with \
             --ledger instead",
            path.display(),
            header.dataset
        ));
        return Ok(ledger);
    }
    let ledger = Ledger::open(path, noise)?;
    check(path, &ledger.account().header, header)?;
    Ok(ledger)
}

/// The ledger at `path`, which is there, with a fresh key for its noise.
///
/// # Errors
/// One that is damaged, or in use.
pub fn reopen(path: &Path) -> Result<Ledger<SystemNoise>> {
    let noise = SystemNoise::new().context(NO_KEY)?;
    Ok(Ledger::open(path, noise)?)
}

const NO_KEY: &str = "the operating system has no key for the noise";

/// What the ledger at `path` says, where there is one, without locking it.
///
/// # Errors
/// A file that cannot be read, or is damaged.
pub fn look(path: &Path) -> Result<Option<Account>> {
    input_file::note(path);
    if path.exists() { Ok(Some(Account::read(path)?)) } else { Ok(None) }
}

/// # Errors
/// A ledger of another data set, relation or budget than `wanted`'s.
pub fn check(path: &Path, found: &Header, wanted: &Header) -> Result<()> {
    let of = |what: &str, found: &str, wanted: &str| -> Result<()> {
        if found == wanted {
            return Ok(());
        }
        bail!(
            "{} is for the {what} \"{found}\", and this run is for \"{wanted}\"; nothing was spent: name the ledger of \
             the data set with --ledger",
            path.display()
        )
    };
    of("data set", &found.dataset, &wanted.dataset)?;
    of("relation", found.adjacency.words(), wanted.adjacency.words())?;
    let (epsilon, delta) = found.budget.epsilon_delta();
    let (wanted_epsilon, wanted_delta) = wanted.budget.epsilon_delta();
    if epsilon.total_cmp(&wanted_epsilon).is_ne() || delta.total_cmp(&wanted_delta).is_ne() {
        bail!(
            "{} has a budget of epsilon {epsilon} at delta {delta}, which was fixed when it was begun, and this run asks \
             for {wanted_epsilon} at {wanted_delta}; nothing was spent: give the ledger's own numbers, or the ledger of \
             another data set",
            path.display()
        );
    }
    Ok(())
}

/// What pays for a release: the ledger, or nobody, where there is none.
pub fn spending<'a>(
    ledger: Option<&'a mut Ledger<SystemNoise>>,
    none: &'a mut Unprotected,
) -> &'a mut dyn Spending {
    match ledger {
        Some(ledger) => ledger,
        None => none,
    }
}

/// The field of an outcome that names the hash of released statistics.
pub const STATISTICS: &str = "statistics_sha256";
/// The field of an outcome that names the hash of a released model of latents.
pub const LATENT_MODEL: &str = "latent_model_sha256";

/// Whether a ledger remembers a release whose file has this hash, under this field.
pub fn remembers(account: &Account, field: &str, sha256: &str) -> bool {
    account.entries.iter().any(|entry| match entry {
        Entry::Result { outcome, .. } => outcome.get(field).and_then(|found| found.as_str()) == Some(sha256),
        _ => false,
    })
}

/// What a ledger has left for one Gaussian release of sensitivity 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    /// It may run, with this noise.
    Noise(f64),
    /// It ran, and the file that was asked for is what it released.
    Released,
}

/// The room that the ledger at `path` keeps, for the data set `name`, for one release into the file
/// `released.0`, whose hash the ledger remembers under the field `released.1`; `what` it is for,
/// and `cure` where there is none, stand in messages.
///
/// # Errors
/// A ledger of another data set, one without a list of mechanisms or without such a release in it,
/// and one whose release ran already into another file.
pub fn room(
    path: &Path,
    account: &Account,
    name: &str,
    released: (&Path, &str),
    what: &str,
    cure: &str,
) -> Result<Room> {
    if account.header.dataset != name {
        bail!(
            "{} is for the data set \"{}\", and this run is for \"{name}\"; nothing was spent: name the ledger of the \
             data set with --ledger",
            path.display(),
            account.header.dataset
        );
    }
    let Budget::Caps { caps, .. } = &account.header.budget else {
        bail!("{} has no list of mechanisms; nothing was spent: {cure}", path.display());
    };
    let cap = caps.iter().find_map(|cap| match cap.mechanism {
        Mechanism::Gaussian { sigma, sensitivity_l2 } if sensitivity_l2.total_cmp(&1.0).is_eq() => {
            Some((sigma, *cap))
        }
        _ => None,
    });
    let Some((sigma, cap)) = cap else {
        bail!("{} keeps no room {what}; nothing was spent: {cure}", path.display());
    };
    let used = account.totals().into_iter().find(|(mechanism, _)| *mechanism == cap.mechanism);
    if used.is_none_or(|(_, count)| count < cap.count) {
        return Ok(Room::Noise(sigma));
    }
    // What an earlier run wrote is no input.
    let _own = input_file::own();
    let (out, field) = released;
    if out.is_file() && remembers(account, field, &FileRecord::of(out)?.sha256) {
        return Ok(Room::Released);
    }
    bail!(
        "{} kept room {what}, and it was released already; its budget has room for once, and nothing was spent: use what \
         was released, or a file of it from a copy",
        path.display()
    )
}
