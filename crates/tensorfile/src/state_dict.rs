//! The tensors of a network out of a file: under any key, behind any prefix, with masks and norms
//! worked in.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::array::Array;
use crate::document::{Document, Format, Found, Value, flatten, unread};
use crate::error::{Error, Result, shown};

/// Keys under which training scripts keep the `state_dict` of a checkpoint, the likeliest first.
const STATE_DICT_KEYS: [&str; 9] = [
    "model_state_dict",
    "state_dict",
    "model",
    "model_state",
    "net",
    "network",
    "module",
    "params",
    "weights",
];

/// What wrappers put before every name: `DataParallel` and averaged models, `torch.compile`,
/// Opacus, Lightning.
const WRAPPER_PREFIXES: [&str; 5] = ["module.", "_orig_mod.", "_module.", "model.", "net."];

/// Numbers that the profiler thop leaves in the modules that it looked at.
const PROFILED: [&str; 2] = ["total_ops", "total_params"];

/// Wrappers around wrappers, at most.
const MAX_WRAPPERS: usize = 4;

/// An error lists at most this many places.
const LISTED: usize = 4;

impl Document {
    /// The file as a `state_dict`: arrays under dotted names, in the file's order. Where the names
    /// are known that a network needs, [`Document::into_state_dict`] reads more files.
    ///
    /// - A checkpoint's `model_state_dict`, `state_dict`, `model` or the like is looked into (the
    ///   first of them that holds arrays), however deep they nest; what lies beside it is left out,
    ///   as is every entry that is no array.
    /// - What wrappers put before every name (`module.`, `_orig_mod.`, `_module.`, `model.`,
    ///   `net.`) is cut off where all names start with it, counters of one number without a dot
    ///   aside (`n_averaged`), which are left out then.
    /// - `weight_orig` and `weight_mask` (pruning) become `weight`, as do `weight_g` and
    ///   `weight_v`, and `parametrizations.weight.original0` and `original1` (weight norm).
    /// - TorchScript gives every tensor attribute under its dotted path; tch writes `|` for the
    ///   dot, which is put back.
    ///
    /// # Errors
    /// [`Error::NoTensors`] for a bare array, a list, or nothing at all; [`Error::Malformed`] if
    /// two entries get one name; [`Error::Unsupported`] for a tensor of a kind that is not read.
    pub fn into_tensors(self) -> Result<Vec<(String, Array)>> {
        if !matches!(self.root, Value::Dict(_)) || !self.root.has_array() {
            return Err(Error::NoTensors { found: self.describe(), path: self.path });
        }
        let (path, format) = (self.path, self.format);
        let script = format == Format::TorchScript;
        let mut entries = entries(if script { self.root } else { state_dict_of(self.root) }, script);
        for _ in 0..MAX_WRAPPERS {
            let wraps = |prefix: &str| {
                let behind =
                    |entry: &Entry| entry.name.len() > prefix.len() && entry.name.starts_with(prefix);
                entries.iter().any(behind) && entries.iter().all(|entry| behind(entry) || entry.is_counter())
            };
            let Some(prefix) = WRAPPER_PREFIXES.into_iter().find(|prefix| wraps(prefix)) else { break };
            entries.retain(|entry| entry.name.starts_with(prefix));
            for entry in &mut entries {
                entry.name.drain(..prefix.len());
            }
        }
        tensors(entries, &path, format)
    }

    /// The tensors of a network that needs those called `expected`, wherever in the file they stand
    /// together: under any key, behind any dotted prefix, in any nesting
    /// (`{"checkpoint": {"net": {"model._orig_mod.fc.weight": ...}}}`).
    ///
    /// With them comes, under its own name, what stands beside them in the same dict (in a
    /// TorchScript module: anywhere), so that the caller can refuse a larger network. Counters
    /// (`num_batches_tracked`, `n_averaged`, `total_ops`) are left out. Masks and norms are worked
    /// in as by [`Document::into_tensors`]. Where the names do not stand together, the result is
    /// that of [`Document::into_tensors`], so that the caller can say what is missing.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] where they stand in two places with different values; those of
    /// [`Document::into_tensors`].
    pub fn into_state_dict(self, expected: &[&str]) -> Result<Vec<(String, Array)>> {
        let script = self.format == Format::TorchScript;
        let prefixes = prefixes(&self.names(script), expected);
        let Some(prefix) = prefixes.first() else { return self.into_tensors() };
        let (path, format) = (self.path, self.format);
        let mut entries = entries(self.root, script);
        let places: HashMap<&str, &Entry> =
            entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let place = |prefix: &str, name: &str| places.get(format!("{prefix}{name}").as_str()).copied();
        for other in prefixes.iter().skip(1) {
            let same = |name: &&str| {
                place(prefix, name).map(|entry| &entry.array) == place(other, name).map(|entry| &entry.array)
            };
            if !expected.iter().all(same) {
                return Err(Error::Ambiguous { path, places: named(&prefixes) });
            }
        }
        // In a dict of dotted names, what nests beside them is no part of the network (an
        // optimiser's state).
        let containers: HashSet<&str> =
            expected.iter().filter_map(|name| Some(place(prefix, name)?.container())).collect();
        let container = match containers.into_iter().collect::<Vec<_>>().as_slice() {
            [one] if !script => Some((*one).to_owned()),
            _ => None,
        };
        let wanted: HashSet<String> = expected.iter().map(|name| format!("{prefix}{name}")).collect();
        entries.retain(|entry| {
            let belongs = match &container {
                Some(container) => entry.container() == container,
                None => script || entry.name.starts_with(prefix),
            };
            belongs && (wanted.contains(&entry.name) || !entry.is_counter())
        });
        let shared = shared_prefix(&entries).to_owned();
        for entry in &mut entries {
            let cut = if entry.name.starts_with(prefix) { prefix.len() } else { shared.len() };
            entry.name.drain(..cut);
        }
        tensors(entries, &path, format)
    }

    /// The dotted names of all arrays, and those that masks and norms give.
    fn names(&self, script: bool) -> HashSet<String> {
        let arrays = self.entries().into_iter().map(|(name, _)| name);
        let unread = self.unread().into_iter().map(|(name, _)| name);
        let mut names: HashSet<String> = arrays.chain(unread).map(|name| dotted(name, script)).collect();
        let made: Vec<String> = names
            .iter()
            .filter_map(|name| {
                parts(name).filter(|parts| names.contains(&parts.other)).map(|parts| parts.whole)
            })
            .collect();
        names.extend(made);
        names
    }
}

/// An array of the file.
struct Entry {
    name: String,
    /// Length of the path of the dict, list or object that holds it.
    container: usize,
    array: Found,
}

impl Entry {
    fn container(&self) -> &str {
        self.name.get(..self.container).unwrap_or(&self.name)
    }

    /// Whether it counts something and is no parameter: an integer, or what a profiler leaves.
    fn is_counter(&self) -> bool {
        let last = self.name.rsplit('.').next().unwrap_or_default();
        self.array
            .as_ref()
            .is_ok_and(|array| array.len() == 1 && (array.is_integer() || PROFILED.contains(&last)))
    }
}

fn entries(root: Value, script: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    flatten(root, String::new(), 0, &mut |name, container, array| {
        entries.push(Entry { name: dotted(name, script), container, array });
    });
    work_in(entries)
}

/// tch writes `|` for the dot in names of a TorchScript module.
fn dotted(name: String, script: bool) -> String {
    if script { name.replace('|', ".") } else { name }
}

fn tensors(entries: Vec<Entry>, path: &Path, format: Format) -> Result<Vec<(String, Array)>> {
    let mut names = HashSet::new();
    if let Some(entry) = entries.iter().find(|entry| !names.insert(entry.name.as_str())) {
        let reason = format!("two tensors are named `{}`", shown(&entry.name));
        return Err(Error::Malformed { path: path.to_path_buf(), format, reason });
    }
    let array = |entry: Entry| match entry.array {
        Ok(array) => Ok((entry.name, array)),
        Err(what) => Err(unread(path.to_path_buf(), format, &entry.name, &what)),
    };
    entries.into_iter().map(array).collect()
}

/// What comes before all of `expected`, in each place where they stand together.
fn prefixes(names: &HashSet<String>, expected: &[&str]) -> Vec<String> {
    let Some((first, others)) = expected.split_first() else { return Vec::new() };
    let mut found: Vec<String> = names
        .iter()
        .filter_map(|name| name.strip_suffix(first))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .filter(|prefix| others.iter().all(|name| names.contains(&format!("{prefix}{name}"))))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

fn named(prefixes: &[String]) -> String {
    let named = prefixes.iter().take(LISTED).map(|prefix| match prefix.strip_suffix('.') {
        Some(place) => format!("under `{}`", shown(place)),
        None => "at the top".to_owned(),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The dotted start that all names have in common.
fn shared_prefix(entries: &[Entry]) -> &str {
    let Some((first, others)) = entries.split_first() else { return "" };
    let common = |length: usize, other: &Entry| {
        let pairs = first.name.bytes().zip(other.name.bytes()).take(length);
        pairs.take_while(|(one, two)| one == two).count()
    };
    let length = others.iter().fold(first.name.len(), common);
    let dots = first.name.match_indices('.').map(|(dot, _)| dot + 1);
    let end = dots.take_while(|end| *end <= length).last().unwrap_or(0);
    first.name.get(..end).unwrap_or_default()
}

fn state_dict_of(root: Value) -> Value {
    let Value::Dict(mut pairs) = root else { return root };
    for key in STATE_DICT_KEYS {
        let nested = pairs
            .iter()
            .position(|(name, value)| name == key && matches!(value, Value::Dict(_)) && value.has_array());
        if let Some(index) = nested {
            return state_dict_of(pairs.swap_remove(index).1);
        }
    }
    Value::Dict(pairs)
}

/// One of two arrays that are a parameter together.
struct Parts {
    /// The name of the other one.
    other: String,
    /// The parameter's.
    whole: String,
    how: fn(&Array, &Array) -> Option<Array>,
}

/// What `torch.nn.utils` makes of a parameter, recognised by the name of the one that has its
/// shape.
fn parts(name: &str) -> Option<Parts> {
    if let Some(whole) = name.strip_suffix("_orig") {
        return Some(Parts { other: format!("{whole}_mask"), whole: whole.to_owned(), how: masked });
    }
    if let Some(whole) = name.strip_suffix("_v") {
        return Some(Parts { other: format!("{whole}_g"), whole: whole.to_owned(), how: with_norm });
    }
    let inner = name.strip_suffix(".original1")?;
    let (module, parameter) = match inner.rsplit_once(".parametrizations.") {
        Some((module, parameter)) => (Some(module), parameter),
        None => (None, inner.strip_prefix("parametrizations.")?),
    };
    let whole = module.map_or_else(|| parameter.to_owned(), |module| format!("{module}.{parameter}"));
    Some(Parts { other: format!("{inner}.original0"), whole, how: with_norm })
}

/// Puts one parameter in the place of its parts, where there is none of that name.
fn work_in(mut entries: Vec<Entry>) -> Vec<Entry> {
    let places: HashMap<&str, usize> =
        entries.iter().enumerate().map(|(at, entry)| (entry.name.as_str(), at)).collect();
    let mut made = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Some(parts) = parts(&entry.name) else { continue };
        let other = places.get(parts.other.as_str()).and_then(|at| Some((*at, entries.get(*at)?)));
        let Some((beside, Entry { array: Ok(second), .. })) = other else { continue };
        let Ok(first) = &entry.array else { continue };
        if !places.contains_key(parts.whole.as_str())
            && let Some(array) = (parts.how)(first, second)
        {
            made.push((at, beside, parts.whole, array));
        }
    }
    let mut gone = HashSet::new();
    for (at, beside, name, array) in made {
        if let Some(entry) = entries.get_mut(at) {
            (entry.name, entry.array) = (name, Ok(array));
            gone.insert(beside);
        }
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    entries
}

/// `weight_orig * weight_mask`.
fn masked(values: &Array, mask: &Array) -> Option<Array> {
    if !values.is_floating() || values.shape() != mask.shape() {
        return None;
    }
    let product = values.to_f32().iter().zip(mask.to_f32()).map(|(value, mask)| value * mask).collect();
    Array::from_f32(values.shape().to_vec(), product).ok()
}

/// `weight_v * weight_g / |weight_v|`: the norm runs over the dimensions that `weight_g` has not.
fn with_norm(direction: &Array, norm: &Array) -> Option<Array> {
    let shape = direction.shape();
    let whole = norm.shape().is_empty() && norm.len() == 1;
    let fits = shape.len() == norm.shape().len()
        && norm.shape().iter().zip(shape).all(|(&n, &length)| n == length || n == 1);
    if !direction.is_floating() || !norm.is_floating() || !(whole || fits) {
        return None;
    }
    let (values, norms) = (direction.to_f32(), norm.to_f64());
    // Which of the norms each value has: found by walking along the row-major order.
    let mut group_of = vec![0_usize; values.len()];
    let mut step = values.len();
    for (&length, n) in shape.iter().zip(norm.shape().iter().copied().chain(std::iter::repeat(1))) {
        step /= length.max(1);
        for (at, group) in group_of.iter_mut().enumerate() {
            *group = *group * n + if n == 1 { 0 } else { at / step.max(1) % length.max(1) };
        }
    }
    let mut squares = vec![0.0_f64; norms.len()];
    for (value, group) in values.iter().zip(&group_of) {
        *squares.get_mut(*group)? += f64::from(*value).powi(2);
    }
    let scaled = values.iter().zip(&group_of).map(|(value, group)| {
        Some((f64::from(*value) * norms.get(*group)? / squares.get(*group)?.sqrt()) as f32)
    });
    Array::from_f32(shape.to_vec(), scaled.collect::<Option<_>>()?).ok()
}
