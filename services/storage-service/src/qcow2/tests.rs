use std::io::{Cursor, Write as _};

use super::*;

/// A cluster of a test image.
#[derive(Debug, Clone)]
pub(crate) enum Cluster {
    Unallocated,
    Zero,
    Plain(u8),
    Deflate(u8),
    Zstd(u8),
}

/// Builds an image with these clusters of `1 << bits` bytes, as QEMU lays it out: header, L1 table, L2 table, clusters.
pub(crate) fn build(version: u32, bits: u32, size: u64, clusters: &[Cluster]) -> Vec<u8> {
    let cluster = 1_usize << bits;
    let zstd = clusters.iter().any(|cluster| matches!(cluster, Cluster::Zstd(_)));
    let mut image = vec![0; 3 * cluster];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &version.to_be_bytes());
    put(20, &bits.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(cluster as u64).to_be_bytes());
    if version == 3 {
        put(72, &(if zstd { COMPRESSION_FEATURE } else { 0 }).to_be_bytes());
        put(100, &112_u32.to_be_bytes());
        put(104, &[u8::from(zstd)]);
    }
    put(cluster, &((2 * cluster as u64) | (1 << 63)).to_be_bytes());
    for (index, content) in clusters.iter().enumerate() {
        let plain = |octet: u8| vec![octet; cluster];
        let (entry, data) = match content {
            Cluster::Unallocated => (0, Vec::new()),
            Cluster::Zero => (ALL_ZEROS, Vec::new()),
            Cluster::Plain(octet) => {
                image.resize(image.len().next_multiple_of(cluster), 0);
                (image.len() as u64 | (1 << 63), plain(*octet))
            }
            Cluster::Deflate(octet) => {
                let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
                packed.write_all(&plain(*octet)).unwrap();
                (COMPRESSED, packed.finish().unwrap())
            }
            Cluster::Zstd(octet) => (COMPRESSED, zstd::encode_all(&plain(*octet)[..], 3).unwrap()),
        };
        let entry = if entry == COMPRESSED {
            let offset = image.len() as u64;
            let sectors = (offset + data.len() as u64 - 1) / 512 - offset / 512;
            COMPRESSED | (sectors << (62 - (bits - 8))) | offset
        } else {
            entry
        };
        image[2 * cluster + 8 * index..2 * cluster + 8 * index + 8].copy_from_slice(&entry.to_be_bytes());
        image.extend(data);
    }
    image.resize(image.len().next_multiple_of(512), 0);
    image
}

fn read(image: &[u8]) -> Result<Vec<u8>, String> {
    let mut disk = Vec::new();
    let size = read_disk(&mut Cursor::new(image), |piece| {
        match piece {
            Piece::Data(data) => disk.extend_from_slice(data),
            Piece::Zeros(count) => disk.resize(disk.len() + usize::try_from(count).unwrap(), 0),
        }
        Ok::<(), Qcow2Error>(())
    });
    let size = size.map_err(|error| error.to_string())?;
    assert_eq!(size, disk.len() as u64);
    Ok(disk)
}

#[test]
fn a_disk_is_read_from_each_kind_of_cluster() {
    use Cluster::{Deflate, Plain, Unallocated, Zero, Zstd};
    const KIB64: u64 = 64 << 10;
    for (version, bits, size, clusters, source) in [
        (2, 16, 2 * KIB64, vec![Plain(1), Plain(2)], "qemu-img create -o compat=0.10"),
        (3, 16, 3 * KIB64, vec![Plain(1), Unallocated, Plain(3)], "qemu-img create"),
        (3, 16, 2 * KIB64, vec![Zero, Plain(7)], "zero clusters"),
        (3, 16, 3 * KIB64, vec![Deflate(1), Deflate(2), Plain(3)], "qemu-img convert -c"),
        (2, 12, 3 * 4096, vec![Deflate(9), Unallocated, Deflate(8)], "-o compat=0.10,cluster_size=4k"),
        (3, 16, 2 * KIB64, vec![Zstd(5), Zstd(6)], "-c -o compression_type=zstd"),
        (3, 9, 1024, vec![Plain(1), Plain(2)], "cluster_size=512"),
        (3, 21, 2 << 21, vec![Plain(1), Plain(2)], "cluster_size=2M"),
        (3, 16, KIB64 + 512, vec![Plain(1), Plain(2)], "a size that is no multiple of the cluster"),
        (3, 16, 0, vec![], "an empty disk"),
        (3, 16, 9 * KIB64, vec![Plain(4)], "unallocated to the end"),
    ] {
        let cluster = 1_usize << bits;
        let mut right = Vec::new();
        for content in &clusters {
            let octet = match content {
                Unallocated | Zero => 0,
                Plain(octet) | Deflate(octet) | Zstd(octet) => *octet,
            };
            right.resize(right.len() + cluster, octet);
        }
        right.resize(usize::try_from(size).unwrap(), 0);
        assert!(read(&build(version, bits, size, &clusters)).unwrap() == right, "{source}");
    }
}

#[test]
fn an_image_that_refers_to_others_or_is_damaged_is_refused() {
    let good = build(3, 16, 2 << 16, &[Cluster::Plain(1), Cluster::Deflate(2)]);
    assert!(read(&good).is_ok());
    let l2 = 2 << 16;
    for (at, bytes, source, why) in [
        (8, &b"\0\0\0\0\0\0\x02\0"[..], "CVE-2015-5163: a backing file", "a backing file"),
        (16, &[0, 0, 0, 11], "the size of its name alone", "a backing file"),
        (32, &[0, 0, 0, 1], "AES", "encryption"),
        (32, &[0, 0, 0, 2], "LUKS", "encryption"),
        (79, &[4], "CVE-2024-32498: an external data file", "external data file"),
        (79, &[16], "extended L2 entries", "subclusters"),
        (79, &[2], "the corrupt bit", "marked as corrupt"),
        (72, &[1], "an unknown feature", "unknown incompatible feature"),
        (4, &[0, 0, 0, 1], "version 1", "another version"),
        (4, &[0, 0, 0, 4], "version 4", "another version"),
        (23, &[8], "clusters of 256 bytes", "cluster size"),
        (23, &[63], "clusters of 8 EiB", "cluster size"),
        (24, &[0x7f], "a disk of 8 EiB", "more than 4 TiB"),
        (36, &[0, 0, 0, 0], "no L1 table", "L1 table"),
        (36, &[0xff, 0xff, 0xff, 0xff], "an L1 table of 32 GiB", "L1 table"),
        (40, &[0, 0xff, 0xff, 0xff], "an L1 table outside", "outside of the file"),
        (1 << 16, &[0, 0xff, 0xff], "an L2 table outside", "outside of the file"),
        (l2, &[0x80, 0xff, 0xff], "a cluster outside", "outside of the file"),
        ((3 << 16) + (1 << 16), &[0xff; 8], "damaged compressed data", "cannot be unpacked"),
        (0, b"QFX", "no header", "no header"),
    ] {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        let error = read(&image).unwrap_err();
        assert!(error.contains(why), "{source}: {error}");
    }
    assert!(read(&good[..50]).unwrap_err().contains("no header"));
}

#[test]
fn an_image_that_refers_to_the_same_bytes_again_is_refused() {
    use Cluster::{Deflate, Plain, Unallocated, Zstd};
    const CLUSTER: usize = 1 << 12;
    /// All entries of the L2 table are those of the first clusters.
    fn repeated(clusters: &[Cluster]) -> Vec<u8> {
        let mut image = build(3, 12, 2 << 20, clusters);
        let entries = image[2 * CLUSTER..2 * CLUSTER + 8 * clusters.len()].to_vec();
        image[2 * CLUSTER..3 * CLUSTER].chunks_exact_mut(entries.len()).for_each(|some| some.copy_from_slice(&entries));
        image
    }
    /// A disk of 4 MiB with two L2 tables: the first one, and one at an offset.
    fn two_tables(offset: u64) -> Vec<u8> {
        let mut image = build(3, 12, 4 << 20, &[Plain(1)]);
        image[39] = 2;
        image[CLUSTER + 8..CLUSTER + 16].copy_from_slice(&(offset | (1 << 63)).to_be_bytes());
        image.resize(6 * CLUSTER, 0);
        image
    }
    let (first, last) = (2 << 12, 5 << 12);
    for (image, source, why) in [
        (repeated(&[Plain(1)]), "a plain cluster", Some("a cluster more than once")),
        (repeated(&[Deflate(1)]), "a deflated cluster of fewer bytes than a sector", Some("a cluster more than once")),
        (repeated(&[Zstd(1)]), "a cluster of zstd", Some("a cluster more than once")),
        (repeated(&[Deflate(1), Deflate(2), Unallocated]), "two clusters with gaps", Some("a cluster more than once")),
        (repeated(&[Unallocated]), "no cluster at all", None),
        (two_tables(first), "one L2 table of two L1 entries", Some("an L2 table more than once")),
        (two_tables(first + 512), "L2 tables that overlap", Some("an L2 table more than once")),
        (two_tables(last), "two L2 tables", None),
    ] {
        let mut size = 0;
        let read = read_disk(&mut Cursor::new(image), |piece| {
            size += match piece {
                Piece::Data(data) => data.len() as u64,
                Piece::Zeros(count) => count,
            };
            Ok::<(), Qcow2Error>(())
        });
        match (read, why) {
            (Ok(whole), None) => assert_eq!(size, whole, "{source}"),
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{source}: {error}"),
            (read, why) => panic!("{source}: {read:?}, not {why:?}"),
        }
    }
}

#[test]
fn clusters_that_share_sectors_are_read() {
    // `qemu-img convert -c` packs clusters one behind the other, without gaps.
    for cluster in [Cluster::Deflate(1), Cluster::Zstd(1)] {
        let image = build(3, 12, 2 << 20, &vec![cluster; 512]);
        let mut data = 0;
        let read = read_disk(&mut Cursor::new(image), |piece| {
            data += if let Piece::Data(data) = piece { data.len() as u64 } else { 0 };
            Ok::<(), Qcow2Error>(())
        });
        assert_eq!((read.unwrap(), data), (2 << 20, 2 << 20));
    }
}
