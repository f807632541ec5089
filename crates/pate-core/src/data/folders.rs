//! Image folders in torchvision's layout.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use artifact::FileRecord;
use unicode_normalization::UnicodeNormalization as _;

use super::picture::{self, Picture};
use super::{ImageSize, Labels, Privacy, Records, Split};
use crate::{Error, Result};

/// More classes than anybody has: a tree of folders that is something else.
const MAX_CLASSES: usize = 10_000;
/// Pictures that the program does not read; left out in silence, they would be missed.
const OTHER_PICTURES: [&str; 10] = ["jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "ppm", "pgm", "avif"];

/// Folders of images named after their classes, torchvision's `ImageFolder`:
/// `<root>/<class>/*.png`, or `<root>/train/<class>/*.png` and `<root>/test/<class>/*.png` (also
/// `training` and `testing`).
///
/// Classes are numbered in the order of their names, images stand in the order of class and name;
/// both orders are by bytes. Names that begin with a dot and files that are no pictures are left
/// out. Grey images give one channel, colour gives three, and grey among colour three equal ones;
/// 16 bits become 8. With `size`, every image is resized to it (triangle filter, the sides each for
/// itself); without, all must have one size.
///
/// # Shapes
/// Images `[n, 1 or 3, height, width]` in `[0, 1]`.
///
/// # Errors
/// Names the folder or the first image that does not fit: no folders of images, other classes in
/// train than in test, a class without an image, another kind of picture, another size, transparent
/// parts, images that show nothing, damaged or oversized files.
pub fn folders(root: &Path, split: Split, size: Option<ImageSize>, privacy: Privacy) -> Result<Records> {
    let (folder, classes) = layout(root, split)?;
    let mut all: Vec<Picture> = Vec::new();
    let mut labels = Vec::new();
    let (mut list, mut bytes, mut values) = (String::new(), 0, 0);
    let mut first: Option<PathBuf> = None;
    for (class, Class { name, folder: class_folder }) in classes.iter().enumerate() {
        let files = pictures_in(class_folder)?;
        if files.is_empty() {
            return Err(Error::content(
                class_folder,
                "there is no PNG in it",
                "a class needs images; put some in, or take the folder away",
            ));
        }
        for file in files {
            let path = class_folder.join(&file);
            let (picture, hash, length) = read(&path, size)?;
            if let Some((one, path_of_one)) = all.first().zip(first.as_ref())
                && (one.height, one.width) != (picture.height, picture.width)
            {
                return Err(Error::content(
                    &path,
                    format!(
                        "it is {}x{} (height, width), and {} is {}x{}",
                        picture.height,
                        picture.width,
                        path_of_one.display(),
                        one.height,
                        one.width
                    ),
                    "give --image-size to resize all, or make them one size",
                ));
            }
            values += picture.values();
            if values > picture::MAX_VALUES {
                return Err(Error::content(
                    &folder,
                    format!("the images up to {} are too large to be held together", path.display()),
                    "give a smaller --image-size",
                ));
            }
            bytes += length;
            // A line as `sha256sum` prints it: anybody can compute the report's hash of the folder.
            let _ = writeln!(list, "{hash}  {name}/{file}");
            first.get_or_insert(path);
            labels.push(class as i64);
            all.push(picture);
        }
    }
    // Over all images: a single one may well be black.
    picture::check_values(&folder, &all)?;
    Ok(Records {
        images: picture::stack(&all)?,
        labels: Labels::new(&folder, labels, classes.len() as i64)?,
        name: format!("folders ({})", root.display()),
        privacy,
        class_names: classes.into_iter().map(|class| class.name).collect(),
        files: Vec::new(),
        listing: Some(FileRecord { path: folder, bytes, sha256: artifact::sha256_bytes(list.as_bytes()) }),
    })
}

/// Whether `root` has a folder of a split with folders in it.
pub fn has_splits(root: &Path) -> bool {
    split_folder(root, Split::Train).is_some() || split_folder(root, Split::Test).is_some()
}

/// The folder of a split: `train` or `training`, `test` or `testing`.
fn split_folder(root: &Path, split: Split) -> Option<PathBuf> {
    let names = match split {
        Split::Train => ["train", "training"],
        Split::Test => ["test", "testing"],
    };
    let has_folders = |folder: &PathBuf| {
        fs::read_dir(folder)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir() && !is_hidden(&entry)))
    };
    names.map(|name| root.join(name)).into_iter().find(has_folders)
}

/// Hidden, or what macOS adds to archives.
fn is_hidden(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}

/// A class, and the folder that holds it.
struct Class {
    /// Composed as Unicode's normal form C, so that two systems number the same classes alike.
    name: String,
    folder: PathBuf,
}

/// The folder of a split, and its classes.
fn layout(root: &Path, split: Split) -> Result<(PathBuf, Vec<Class>)> {
    if !root.is_dir() {
        return Err(Error::content(
            root,
            "there is no such folder",
            "give the folder that holds a folder of PNG images per class",
        ));
    }
    if !has_splits(root) {
        return Ok((root.to_path_buf(), classes_in(root)?));
    }
    let (name, other, other_split) = match split {
        Split::Train => ("train", "test", Split::Test),
        Split::Test => ("test", "train", Split::Train),
    };
    let Some(folder) = split_folder(root, split) else {
        return Err(Error::content(
            root,
            format!("there is a folder {other} in it, but no folder {name} with classes"),
            format!("put {name}/<class>/*.png beside {other}"),
        ));
    };
    let classes = classes_in(&folder)?;
    if let Some(other) = split_folder(root, other_split) {
        let others = classes_in(&other)?;
        let differs = |a: &[Class], b: &[Class]| {
            a.iter()
                .find(|class| b.iter().all(|other| other.name != class.name))
                .map(|class| class.name.clone())
        };
        // Classes are numbered by name, so one that is missing would shift all after it.
        if let Some(class) = differs(&classes, &others).or_else(|| differs(&others, &classes)) {
            return Err(Error::content(
                root,
                format!("the class {class} is not in both train and test"),
                "both have the same class folders",
            ));
        }
    }
    Ok((folder, classes))
}

/// Names of what is in `folder`, in order, with what each is; symbolic links are followed.
fn entries(folder: &Path) -> Result<Vec<(String, fs::Metadata)>> {
    let read = |path: &Path| {
        let path = path.to_path_buf();
        move |source| artifact::Error::Read { path, source }
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(read(folder))? {
        let entry = entry.map_err(read(folder))?;
        if is_hidden(&entry) {
            continue;
        }
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            return Err(Error::content(&path, "its name is no Unicode", "rename it"));
        };
        if name.contains(char::is_control) {
            return Err(Error::content(folder, format!("a name in it is {name:?}"), "rename it"));
        }
        let metadata = fs::metadata(&path).map_err(read(&path))?;
        all.push((name, metadata));
    }
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn classes_in(folder: &Path) -> Result<Vec<Class>> {
    let mut classes: Vec<Class> = entries(folder)?
        .into_iter()
        .filter(|(_, metadata)| metadata.is_dir())
        .map(|(name, _)| Class { folder: folder.join(&name), name: name.nfc().collect() })
        .collect();
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = classes.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::content(
            folder,
            format!("two folders in it are both called {}, composed and decomposed", pair[0].name),
            "put their images into one",
        ));
    }
    if (2..=MAX_CLASSES).contains(&classes.len()) {
        return Ok(classes);
    }
    Err(Error::content(
        folder,
        format!("there are {} class folders in it", classes.len()),
        format!("it needs one folder of PNG images per class, 2 to {MAX_CLASSES} of them"),
    ))
}

fn pictures_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, metadata) in entries(folder)? {
        let ending = Path::new(&name).extension().map(|e| e.to_string_lossy().to_lowercase());
        let ending = ending.as_deref().unwrap_or_default();
        let path = folder.join(&name);
        // Passed over in silence, its images would be missed.
        if metadata.is_dir() {
            return Err(Error::content(
                &path,
                "it is a folder in a class's folder",
                "put the class's images straight into its folder",
            ));
        }
        if OTHER_PICTURES.contains(&ending) {
            return Err(Error::content(
                &path,
                "it is no PNG",
                "convert the images to PNG; no other kind is read",
            ));
        }
        if ending != "png" {
            continue;
        }
        names.push(name);
    }
    Ok(names)
}

/// The image with the SHA-256 and the size of its file.
fn read(path: &Path, size: Option<ImageSize>) -> Result<(Picture, String, u64)> {
    // Read once: what is hashed is what is decoded.
    let file = input_file::read(path, input_file::PICTURE)
        .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    let picture = Picture::decode(&file, size)
        .map_err(|picture::Refused { problem, hint }| Error::content(path, problem, hint))?;
    Ok((picture, artifact::sha256_bytes(&file), file.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

    fn grey(path: &Path, height: u32, width: u32, value: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(width, height, Luma([value])).save(path).unwrap();
    }

    fn put(path: &Path, bytes: &[u8]) {
        artifact::write_bytes(path, artifact::Access::Public, bytes).unwrap();
    }

    fn load(root: &Path, split: Split) -> Result<Records> {
        folders(root, split, None, Privacy::Private)
    }

    fn problem(root: &Path) -> String {
        load(root, Split::Train).err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn classes_and_images_stand_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (name, value) in [("b/2.png", 20), ("b/10.PNG", 10), ("B/1.png", 30), ("a c/1.png", 40)] {
            grey(&root.join(name), 4, 6, value);
        }
        put(&root.join("a c/notes.txt"), b"no picture");
        put(&root.join("b/.hidden.png"), b"no picture");
        fs::create_dir(root.join(".git")).unwrap();
        let records = load(root, Split::Train).unwrap();
        assert_eq!(records.class_names, ["B", "a c", "b"]);
        assert_eq!(records.labels.values(), [0, 1, 2, 2]);
        assert_eq!(records.images.tensor().size(), [4, 1, 4, 6]);
        let firsts: Vec<f32> = records.images.to_vec().unwrap().into_iter().step_by(24).collect();
        assert_eq!(firsts, [30, 40, 10, 20].map(|byte: u8| f32::from(byte) / 255.0));
        let hash = |name: &str| artifact::sha256_bytes(&fs::read(root.join(name)).unwrap());
        let names = ["B/1.png", "a c/1.png", "b/10.PNG", "b/2.png"];
        let list = names.map(|name| format!("{}  {name}\n", hash(name))).concat();
        assert_eq!(records.listing.unwrap().sha256, artifact::sha256_bytes(list.as_bytes()));
    }

    #[test]
    fn grey_and_colour_keep_their_values() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        grey(&root.join("a/1.png"), 4, 4, 51);
        fs::create_dir(root.join("b")).unwrap();
        RgbImage::from_pixel(4, 4, Rgb([255, 0, 102])).save(root.join("b/1.png")).unwrap();
        RgbaImage::from_pixel(4, 4, Rgba([0, 204, 255, 255])).save(root.join("b/2.png")).unwrap();
        let records = load(root, Split::Test).unwrap();
        assert_eq!(records.images.tensor().size(), [3, 3, 4, 4]);
        let planes: Vec<f32> = records.images.to_vec().unwrap().into_iter().step_by(16).collect();
        assert_eq!(planes, [0.2, 0.2, 0.2, 1.0, 0.0, 0.4, 0.0, 0.8, 1.0]);
    }

    /// Field cases, row 14: digits on a transparent canvas became blank shards.
    #[test]
    fn images_that_show_nothing_or_hide_something_are_refused() {
        let ink = |x: u32| if x == 2 { 255 } else { 0 };
        let canvas = DynamicImage::from(RgbaImage::from_fn(4, 4, |x, _| Rgba([0, 0, 0, ink(x)])));
        let grey_canvas =
            DynamicImage::from(image::GrayAlphaImage::from_fn(4, 4, |x, _| image::LumaA([0, ink(x)])));
        let sensor = image::ImageBuffer::from_fn(4, 4, |x, _| Luma([u16::from(ink(x)) * 16]));
        for (picture, part) in [
            (canvas, "parts of it are transparent"),
            (grey_canvas, "parts of it are transparent"),
            (DynamicImage::from(GrayImage::from_pixel(4, 4, Luma([0]))), "all of its 2 images are black"),
            (DynamicImage::from(RgbImage::from_pixel(4, 4, Rgb([255; 3]))), "all of its 2 images are white"),
            (DynamicImage::ImageLuma16(sensor), "none is above 4080 of 65535"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for class in ["a", "b"] {
                fs::create_dir(dir.path().join(class)).unwrap();
                picture.save(dir.path().join(class).join("1.png")).unwrap();
            }
            assert!(problem(dir.path()).contains(part), "{}", problem(dir.path()));
        }
    }

    /// Field cases, row 13.
    #[test]
    fn other_names_of_splits_and_what_systems_add_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["training/a/1.png", "training/b/1.png", "testing/a/1.png", "testing/b/1.png"] {
            grey(&root.join(name), 4, 4, 9);
        }
        put(&root.join("__MACOSX/training/a/._1.png"), b"no picture");
        put(&root.join("training/__MACOSX/._1.png"), b"no picture");
        assert_eq!(load(root, Split::Train).unwrap().class_names, ["a", "b"]);
        assert_eq!(load(root, Split::Test).unwrap().len(), 2);
        let flat = tempfile::tempdir().unwrap();
        for name in ["a/1.png", "b/1.png", "__MACOSX/a/._1.png"] {
            grey(&flat.path().join(name), 4, 4, 9);
        }
        assert_eq!(load(flat.path(), Split::Train).unwrap().class_names, ["a", "b"]);
    }

    /// Field cases, rows 5 and 13: macOS decomposes names, others do not.
    #[cfg(target_os = "linux")]
    #[test]
    fn composed_and_decomposed_names_are_one_class() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["train/\u{e9}/1.png", "train/f/1.png", "test/e\u{301}/1.png", "test/f/1.png"] {
            grey(&root.join(name), 4, 4, 9);
        }
        for split in [Split::Train, Split::Test] {
            assert_eq!(load(root, split).unwrap().class_names, ["f", "\u{e9}"]);
        }
        grey(&root.join("train/e\u{301}/1.png"), 4, 4, 9);
        assert!(problem(root).contains("composed and decomposed"), "{}", problem(root));
    }

    #[test]
    fn another_size_is_named_or_resized() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        grey(&root.join("a/1.png"), 8, 8, 100);
        grey(&root.join("b/1.png"), 8, 12, 100);
        let error = problem(root);
        for part in ["b/1.png: it is 8x12", "a/1.png is 8x8", "--image-size"] {
            assert!(error.replace('\\', "/").contains(part), "{error}");
        }
        let size = Some("4x8".parse().unwrap());
        let records = folders(root, Split::Train, size, Privacy::Public).unwrap();
        assert_eq!(records.images.tensor().size(), [2, 1, 4, 8]);
        assert!(records.images.to_vec().unwrap().iter().all(|x| (x - 100.0 / 255.0).abs() < 1e-6));
        for text in ["", "3", "1025", "8x", "axb", "8x8x8", "-8"] {
            assert!(text.parse::<ImageSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn train_and_test_are_splits_with_the_same_classes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (name, value) in [
            ("train/a/1.png", 1),
            ("train/b/1.png", 2),
            ("train/c/1.png", 2),
            ("test/a/1.png", 3),
            ("test/b/1.png", 4),
        ] {
            grey(&root.join(name), 4, 4, value);
        }
        assert!(problem(root).contains("the class c is not in both"), "{}", problem(root));
        grey(&root.join("test/c/1.png"), 4, 4, 4);
        let values = |split| load(root, split).unwrap().images.to_vec().unwrap()[0] * 255.0;
        assert!((values(Split::Train) - 1.0).abs() < 1e-6 && (values(Split::Test) - 3.0).abs() < 1e-6);
        fs::remove_dir_all(root.join("test")).unwrap();
        let error = load(root, Split::Test).err().unwrap().to_string();
        assert!(error.contains("no folder test"), "{error}");
    }

    /// A PNG of a few bytes that claims to be `side` x `side` in 16-bit colour.
    fn bomb(side: u32) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, body) in [
            (b"IHDR", [&side.to_be_bytes()[..], &side.to_be_bytes(), &[16, 2, 0, 0, 0]].concat()),
            (b"IDAT", vec![0x78, 0x9c]),
            (b"IEND", vec![]),
        ] {
            png.extend((body.len() as u32).to_be_bytes());
            let chunk = [&kind[..], &body].concat();
            let mut crc = !0u32;
            for byte in &chunk {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
                }
            }
            png.extend(chunk);
            png.extend((!crc).to_be_bytes());
        }
        png
    }

    #[test]
    fn hostile_and_foreign_files_are_named() {
        let cases: [(&str, Vec<u8>, &[&str]); 6] = [
            ("a/2.png", b"no picture".to_vec(), &["a/2.png: it cannot be read as a PNG"]),
            ("a/2.png", bomb(16_000), &["a/2.png: it cannot be read as a PNG", "imit"]),
            ("a/2.png", bomb(1 << 30), &["a/2.png: it cannot be read as a PNG", "imit"]),
            ("a/2.JPG", Vec::new(), &["a/2.JPG: it is no PNG", "convert"]),
            ("a/b/1.png", Vec::new(), &["a/b: it is a folder in a class's folder"]),
            ("c/notes.txt", Vec::new(), &["c: there is no PNG in it"]),
        ];
        for (name, bytes, words) in cases {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            grey(&root.join("a/1.png"), 4, 4, 1);
            grey(&root.join("b/1.png"), 4, 4, 1);
            assert_eq!(problem(root), "");
            put(&root.join(name), &bytes);
            let error = problem(root).replace('\\', "/");
            assert!(!error.contains('\n') && words.iter().all(|word| error.contains(word)), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(problem(&dir.path().join("none")).contains("no such folder"));
        grey(&dir.path().join("1.png"), 4, 4, 1);
        assert!(problem(dir.path()).contains("0 class folders"), "{}", problem(dir.path()));
        grey(&dir.path().join("a/1.png"), 2000, 8, 1);
        grey(&dir.path().join("b/1.png"), 2000, 8, 1);
        assert!(problem(dir.path()).contains("2000x8"), "{}", problem(dir.path()));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_nowhere_or_in_circles_end_with_a_message() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        grey(&root.join("a/1.png"), 4, 4, 1);
        symlink("a", root.join("b")).unwrap();
        assert_eq!(load(root, Split::Train).unwrap().len(), 2, "a link to a folder is a folder");
        symlink("2.png", root.join("a/2.png")).unwrap();
        assert!(problem(root).starts_with("cannot read"), "{}", problem(root));
        fs::remove_file(root.join("a/2.png")).unwrap();
        symlink("..", root.join("a/up")).unwrap();
        assert!(problem(root).contains("a folder in a class's folder"), "{}", problem(root));
        fs::remove_file(root.join("a/up")).unwrap();
        symlink("/dev/zero", root.join("a/3.png")).unwrap();
        assert!(problem(root).starts_with("cannot read"), "{}", problem(root));
    }
}
