//! Modules of a crate, with their definitions, imports and references.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::references::{Import, Reference, References, is_test};

/// Reads a file, or returns `None` if it does not exist.
type Read<'r> = &'r dyn Fn(&Path) -> Option<String>;

/// Longest chain of re-exports that is followed; ends the search in imports that refer to themselves.
const MAX_REEXPORTS: usize = 16;

/// Index of a module in its tree.
pub(super) type ModuleId = usize;

/// Module, in its own file or inline.
pub(super) struct Module {
    /// Names from below the crate's root to this module; empty for the root.
    pub(super) path: Vec<String>,
    /// File that its text is in.
    pub(super) file: PathBuf,
    /// Paths in its text, those of its child modules excluded.
    pub(super) references: Vec<Reference>,
    parent: Option<ModuleId>,
    children: BTreeMap<String, ModuleId>,
    items: BTreeSet<String>,
    aliases: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// All modules of one crate but those for its tests. The root has index 0.
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
}

/// Meaning of a name in a module.
enum Meaning {
    Module(ModuleId),
    /// An item that the module defines.
    Item(ModuleId),
}

impl Tree {
    /// Reads the crate whose root file is `root`.
    pub(super) fn load(root: &Path, read: Read<'_>) -> Result<Self> {
        let mut tree = Self { modules: Vec::new() };
        let text = read(root).context("the root file does not exist")?;
        let file = syn::parse_file(&text).with_context(|| root.display().to_string())?;
        let folder = root.parent().unwrap_or_else(|| Path::new("")).to_owned();
        tree.add(Place { path: Vec::new(), file: root.to_owned(), folder, parent: None }, &file.items, read)?;
        Ok(tree)
    }

    fn add(&mut self, place: Place, items: &[syn::Item], read: Read<'_>) -> Result<ModuleId> {
        let id = self.modules.len();
        let mut found = References::default();
        let mut inner = Vec::new();
        for item in items {
            if let syn::Item::Mod(module) = item {
                if !is_test(&module.attrs) && module.ident != "tests" {
                    inner.push(module);
                }
            } else {
                found.item(item);
            }
        }
        let aliases = found.imports.iter().filter_map(Import::alias).collect();
        let globs = found.imports.iter().filter_map(Import::glob).collect();
        self.modules.push(Module {
            path: place.path.clone(),
            file: place.file.clone(),
            references: found.references,
            parent: place.parent,
            children: BTreeMap::new(),
            items: found.items,
            aliases,
            globs,
        });
        for module in inner {
            if let Some(child) = self.child(id, &place, module, read)?
                && let Some(parent) = self.modules.get_mut(id)
            {
                parent.children.insert(module.ident.to_string(), child);
            }
        }
        Ok(id)
    }

    /// Adds a module that its parent declares. Returns `None` if its file does not exist, as where it is generated.
    fn child(
        &mut self,
        parent: ModuleId,
        place: &Place,
        module: &syn::ItemMod,
        read: Read<'_>,
    ) -> Result<Option<ModuleId>> {
        let name = module.ident.to_string();
        let mut path = place.path.clone();
        path.push(name.clone());
        let folder = place.folder.join(&name);
        let place = |file| Place { path, file, folder: folder.clone(), parent: Some(parent) };
        if let Some((_, items)) = &module.content {
            let file = self.modules.get(parent).map(|module| module.file.clone()).unwrap_or_default();
            return self.add(place(file), items, read).map(Some);
        }
        let flat = folder.with_extension("rs");
        let nested = folder.join("mod.rs");
        let Some((file, text)) = [flat, nested].into_iter().find_map(|file| read(&file).map(|text| (file, text)))
        else {
            return Ok(None);
        };
        let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
        if is_test(&parsed.attrs) {
            return Ok(None);
        }
        self.add(place(file), &parsed.items, read).map(Some)
    }

    /// Returns all modules on a path in module `from`, and at last the module that defines the item.
    /// Empty for a path into another crate.
    pub(super) fn resolve(&self, from: ModuleId, segments: &[String]) -> Vec<ModuleId> {
        let mut passed = Vec::new();
        self.walk(from, segments, MAX_REEXPORTS, &mut passed);
        passed
    }

    fn walk(&self, from: ModuleId, segments: &[String], left: usize, passed: &mut Vec<ModuleId>) -> Option<Meaning> {
        let (first, rest) = segments.split_first()?;
        let mut meaning = match first.as_str() {
            "crate" => Meaning::Module(0),
            "self" => Meaning::Module(from),
            "super" => Meaning::Module(self.modules.get(from)?.parent?),
            name => self.look_up(from, name, left, passed)?,
        };
        for segment in rest {
            let (Meaning::Module(current) | Meaning::Item(current)) = meaning;
            passed.push(current);
            meaning = match (&meaning, segment.as_str()) {
                (Meaning::Item(_), _) | (_, "self") => break,
                (Meaning::Module(_), "super") => Meaning::Module(self.modules.get(current)?.parent?),
                // An unknown name, such as that of a macro's item, ends the path in its module.
                (Meaning::Module(_), name) => self.look_up(current, name, left, passed)?,
            };
        }
        let (Meaning::Module(last) | Meaning::Item(last)) = meaning;
        passed.push(last);
        Some(meaning)
    }

    fn look_up(&self, module: ModuleId, name: &str, left: usize, passed: &mut Vec<ModuleId>) -> Option<Meaning> {
        let left = left.checked_sub(1)?;
        let here = self.modules.get(module)?;
        if let Some(child) = here.children.get(name) {
            return Some(Meaning::Module(*child));
        }
        if here.items.contains(name) {
            return Some(Meaning::Item(module));
        }
        if let Some(alias) = here.aliases.get(name) {
            return self.walk(module, alias, left, passed);
        }
        here.globs.iter().find_map(|glob| {
            let mut way = Vec::new();
            let Meaning::Module(source) = self.walk(module, glob, left, &mut way)? else { return None };
            let meaning = if source == module { None } else { self.look_up(source, name, left, &mut way) }?;
            passed.append(&mut way);
            Some(meaning)
        })
    }
}

/// Path of a module in its crate and on disk.
struct Place {
    path: Vec<String>,
    file: PathBuf,
    /// Folder of its child modules' files.
    folder: PathBuf,
    parent: Option<ModuleId>,
}
