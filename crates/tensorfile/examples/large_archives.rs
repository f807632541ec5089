//! Writes what no test writes to a disk: `large.pt`, an array of 4.3 GiB in pieces, and `many.npz`,
//! 70,000 arrays; reads both back.
//!
//! `cargo run --release -p tensorfile --example large_archives -- FOLDER`, then
//! `python3 crates/tensorfile/tests/fixtures/zip/make.py FOLDER/large.pt FOLDER/many.npz`: Python's
//! zipfile checks every header.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program for one's own folder")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use tensorfile::{DType, View, npz, pt, read};

const ROW: usize = 1 << 20;
const ROWS: usize = 4400;
const ARRAYS: usize = 70_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("give a folder with 5 GB of room")?);
    let (large, many) = (folder.join("large.pt"), folder.join("many.npz"));

    let mut row = vec![0; ROW];
    let mut out = pt::ArrayWriter::new(BufWriter::new(File::create(&large)?), DType::U8, &[ROWS, ROW])?;
    for index in 0..ROWS {
        row.fill((index % 251) as u8);
        out.write(&row)?;
    }
    out.finish()?.flush()?;
    let array = read(&large)?.into_array()?;
    let rows = array.bytes().chunks_exact(ROW).enumerate();
    let same = rows.filter(|(index, row)| row.iter().all(|byte| usize::from(*byte) == index % 251)).count();
    println!("{}: {array}, {same} of {ROWS} rows as they were written", large.display());

    let names: Vec<String> = (0..ARRAYS).map(|index| format!("array_{index}")).collect();
    let values: Vec<f32> = (0..ARRAYS).map(|value| value as f32).collect();
    let entries: Vec<(&str, View<'_>)> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| Ok((name.as_str(), View::f32(&[], std::slice::from_ref(value))?)))
        .collect::<tensorfile::Result<_>>()?;
    npz::write(&mut BufWriter::new(File::create(&many)?), &entries)?;
    let tensors = read(&many)?.into_tensors()?;
    let same = tensors.iter().zip(&values).filter(|((_, array), value)| array.to_f32() == [**value]).count();
    println!("{}: {same} of {ARRAYS} arrays as they were written", many.display());
    Ok(())
}
