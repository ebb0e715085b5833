//! Parses the script that iPXE receives: the files of each try.

/// A file that the script downloads, and its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `vmlinuz`, `token.cpio`, `initrd.img`.
    pub name: String,
    /// Its http: or tftp: URL.
    pub url: String,
    /// Its arguments, if it is a kernel.
    pub arguments: String,
}

/// The script's tries, in order: each has the files between one label and the next. A label without files is not a try.
pub fn tries(script: &str) -> Vec<Vec<File>> {
    let mut tries = vec![vec![]];
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [label] if label.starts_with(':') => tries.push(vec![]),
            ["kernel" | "initrd", "--name", name, url, ref rest @ ..] => {
                let arguments = rest.split(|word| *word == "||").next().unwrap_or_default().join(" ");
                let file = File { name: name.to_owned(), url: url.to_owned(), arguments };
                tries.last_mut().into_iter().for_each(|files| files.push(file.clone()));
            }
            _ => {}
        }
    }
    tries.retain(|files| !files.is_empty());
    tries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_of_a_script_is_a_try() {
        let script = "#!ipxe\n:again\n:from0\nimgfree\nkernel --name vmlinuz http://a/k initrd=x || goto from1\n\
                      initrd --name x http://a/x || goto from1\nboot || goto from1\n\
                      :from1\nkernel --name vmlinuz tftp://b/k || goto from2\n:from2\nsleep 3\ngoto again\n";
        let names: Vec<Vec<String>> =
            tries(script).into_iter().map(|files| files.into_iter().map(|file| file.url).collect()).collect();
        assert_eq!(names, [vec!["http://a/k", "http://a/x"], vec!["tftp://b/k"]]);
    }
}
