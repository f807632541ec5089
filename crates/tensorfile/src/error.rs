//! What can go wrong, in words that name the file, the reason and the hint.

use std::io;
use std::path::{Path, PathBuf};

use crate::{DType, Format};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file could not be turned into arrays, or arrays into a file.
///
/// Every error of [`read`](crate::read) and of [`Document`](crate::Document) carries the path.
/// Errors of [`Array`](crate::Array), of [`View`](crate::View) and of the writers cannot know it:
/// the caller adds it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused, or it is no regular file; the source says why.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of no bytes.
    #[error("{}: the file is empty; its writer was probably interrupted, so make it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A zip archive that cannot be opened, so that it is not known what it holds.
    #[error("{}: broken zip archive (.pt or .npz), probably cut short ({reason}); copy or save it again", path.display())]
    BrokenZip {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The content is none of the known formats.
    #[error(
        "{}: not a .pt, .safetensors, .npy, .npz or IDX file (it starts with {start}); {hint}", path.display()
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// Its first bytes, escaped.
        start: String,
        /// What it may be instead, and what to do.
        hint: String,
    },
    /// The format is known, but the content breaks its rules.
    #[error("{}: broken {format} file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the file claims to be.
        format: Format,
        /// Which rule is broken, and where.
        reason: String,
    },
    /// The content is well formed, but outside of what this crate reads.
    #[error("{}: {format} file with {what}, which is not read here; {hint}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What the file is.
        format: Format,
        /// What is not read.
        what: String,
        /// How to make a file that is.
        hint: String,
    },
    /// The pickle asks for a class or function that is neither a tensor nor a container. Nothing of
    /// it was run.
    #[error(
        "{}: refused, nothing was run: its pickle asks for `{global}`{}, which is neither a tensor nor a plain container; \
         if it is a model or checkpoint of your own, save only its tensors in Python: torch.save(model.state_dict(), \"new.pt\")",
        path.display(),
        under(key)
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// `module.name` of the class or function.
        global: String,
        /// The dotted key of the dict in which it stands; empty where it stands in none.
        key: String,
    },
    /// Unpacked, the content would be out of proportion to the file.
    #[error(
        "{}: {what} would take {needed} bytes of memory, and a file of this size may take {limit}; \
         write it uncompressed, and as contiguous tensors (tensor.contiguous())",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What would be too large.
        what: String,
        /// Bytes that the content asks for in all.
        needed: u128,
        /// Bytes that [`limits`](crate::limits) allow this file.
        limit: u64,
    },
    /// One array was asked for, and the file has another number of them.
    #[error("{}: one array is needed here, but the file holds {found}; save the wanted one alone", path.display())]
    NotOneArray {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Named tensors were asked for, and the file has none.
    #[error(
        "{}: named tensors are needed here, but the file holds {found}; save them with torch.save(model.state_dict(), path)",
        path.display()
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A network's tensors were asked for, and the file has two that fit.
    #[error(
        "{}: the network's tensors stand there twice, with different values: {places}; \
         save the wanted ones alone in Python, as in torch.save(checkpoint[\"model\"], \"new.pt\")",
        path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Where they stand.
        places: String,
    },
    /// Images were asked for, with labels where there are some, and it is not clear which array is
    /// which.
    #[error(
        "{}: {reason}; the file holds {found}; call the images `images`, `x`, `samples` or `data`, and a label for each \
         `labels`, `y` or `targets`: numpy.savez(path, images=x, labels=y)",
        path.display()
    )]
    NotLabelled {
        /// The file.
        path: PathBuf,
        /// What is not clear.
        reason: String,
        /// What is there.
        found: String,
    },
    /// The shape is that of no images.
    #[error(
        "images of shape {shape:?} are neither [n, channels, height, width] nor [n, height, width, channels] with 1 or 3 channels; \
         bring them into the first layout: images.transpose(0, 3, 1, 2) in Python"
    )]
    Layout {
        /// The shape.
        shape: Vec<usize>,
    },
    /// The bytes given do not fill the shape given.
    #[error("a {dtype} array of shape {shape:?} takes {expected} bytes, but {got} were given")]
    Length {
        /// Type of the elements.
        dtype: DType,
        /// The shape.
        shape: Vec<usize>,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A `bool` is neither 0 nor 1.
    #[error("element {index} of a bool array is the byte {byte}; only 0 and 1 can be written")]
    NotBool {
        /// Position in row-major order.
        index: usize,
        /// The byte.
        byte: u8,
    },
    /// The shape has too many dimensions.
    #[error("an array of {got} dimensions is refused; {max} are allowed")]
    Dimensions {
        /// Dimensions given.
        got: usize,
        /// [`limits::MAX_DIMS`](crate::limits::MAX_DIMS).
        max: usize,
    },
    /// The shape is beyond any memory.
    #[error("a {dtype} array of shape {shape:?} is larger than the address space")]
    Shape {
        /// Type of the elements.
        dtype: DType,
        /// The shape.
        shape: Vec<usize>,
    },
    /// Integers were asked for, and an element is none.
    #[error("element {index} of a {dtype} array is {value}, which is not a 64-bit integer")]
    NotInteger {
        /// Type of the elements.
        dtype: DType,
        /// Position in row-major order.
        index: usize,
        /// The value.
        value: f64,
    },
    /// The arrays cannot be written in the wanted format.
    #[error("cannot write {format}: {reason}")]
    Unwritable {
        /// The wanted format.
        format: Format,
        /// Why not.
        reason: String,
    },
    /// The output refused bytes; the source says why.
    #[error("cannot write the arrays")]
    Write {
        /// What the output said.
        #[from]
        source: io::Error,
    },
}

fn under(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" under the key `{key}`") }
}

/// An [`Error`] that does not know its file yet; the readers make these, and [`read`](crate::read)
/// adds path and format.
#[derive(Debug)]
pub(crate) enum ReadError {
    Malformed(String),
    Unsupported {
        what: String,
        hint: String,
    },
    Refused {
        global: String,
        key: String,
    },
    TooLarge {
        what: String,
        needed: u128,
        limit: u64,
    },
    OutOfMemory,
    BrokenZip(String),
    /// The bytes end within a pickle; more of the file may help.
    PickleEnds,
    Io(io::Error),
}

impl ReadError {
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }

    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn at(self, path: &Path, format: Format) -> Error {
        let path = path.to_path_buf();
        match self {
            Self::Malformed(reason) => Error::Malformed { path, format, reason },
            Self::Unsupported { what, hint } => Error::Unsupported { path, format, what, hint },
            Self::Refused { global, key } => Error::Refused { path, global, key },
            Self::TooLarge { what, needed, limit } => Error::TooLarge { path, what, needed, limit },
            Self::OutOfMemory => Error::Io { path, source: io::ErrorKind::OutOfMemory.into() },
            Self::BrokenZip(reason) => Error::BrokenZip { path, reason },
            Self::PickleEnds => {
                let reason = "its pickle ends too early; copy or save it again".into();
                Error::Malformed { path, format, reason }
            }
            Self::Io(source) => Error::Io { path, source },
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for ReadError {
    /// For the checks that [`Array`](crate::Array) itself makes.
    fn from(error: Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A name out of a file, fit for one line of an error: escaped, and cut after 80 characters.
pub(crate) fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    input_file::shown(name, LONGEST)
}
