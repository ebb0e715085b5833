//! Imports, definitions and references of a module's source.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    UseTree,
    visit::{self, Visit},
};

/// A path in a module's text.
pub(super) struct Reference {
    /// Its names, as written; `crate`, `self` and `super` included.
    pub(super) segments: Vec<String>,
    /// Line of its first name, from 1.
    pub(super) line: usize,
}

/// One name, or all names of a module, that a `use` brings into scope.
pub(super) struct Import {
    segments: Vec<String>,
    /// The name in this module; `None` for a glob.
    name: Option<String>,
}

impl Import {
    /// Name in this module, and the path that it refers to.
    pub(super) fn alias(&self) -> Option<(String, Vec<String>)> {
        Some((self.name.clone()?, self.segments.clone()))
    }

    /// The module whose names are all imported.
    pub(super) fn glob(&self) -> Option<Vec<String>> {
        self.name.is_none().then(|| self.segments.clone())
    }
}

/// Collects a module's items, imports and paths. Items that are compiled for tests only are left out.
#[derive(Default)]
pub(super) struct References {
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    pub(super) references: Vec<Reference>,
    /// Depth of blocks: an import in a function is a reference, but names nothing in the module.
    depth: usize,
}

impl References {
    /// Adds an item of the module itself.
    pub(super) fn item(&mut self, item: &syn::Item) {
        let (attributes, name) = describe(item);
        if is_test(attributes) {
            return;
        }
        self.items.extend(name.map(ToString::to_string));
        self.visit_item(item);
    }

    fn import(&mut self, prefix: &[String], tree: &UseTree) {
        let joined = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&joined(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(prefix, tree)),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.imported(prefix.to_vec(), None, line);
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.imported(prefix.to_vec(), prefix.last().cloned(), name.ident.span().start().line);
            }
            UseTree::Name(name) => {
                self.imported(joined(&name.ident), Some(name.ident.to_string()), name.ident.span().start().line);
            }
            UseTree::Rename(rename) => {
                let segments = if rename.ident == "self" { prefix.to_vec() } else { joined(&rename.ident) };
                self.imported(segments, Some(rename.rename.to_string()), rename.ident.span().start().line);
            }
        }
    }

    fn imported(&mut self, segments: Vec<String>, name: Option<String>, line: usize) {
        self.references.push(Reference { segments: segments.clone(), line });
        if self.depth == 0 {
            self.imports.push(Import { segments, name });
        }
    }

    /// Finds `a::b` among the tokens of a macro, which have no syntax.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !segments.is_empty() => segments.push(ident.to_string()),
                TokenTree::Ident(ident) => {
                    self.path_of_tokens(&mut segments, line);
                    line = ident.span().start().line;
                    segments.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.path_of_tokens(&mut segments, line);
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.path_of_tokens(&mut segments, line),
            }
            colons = 0;
        }
        self.path_of_tokens(&mut segments, line);
    }

    fn path_of_tokens(&mut self, segments: &mut Vec<String>, line: usize) {
        let segments = std::mem::take(segments);
        if segments.len() > 1 {
            self.references.push(Reference { segments, line });
        }
    }
}

impl<'ast> Visit<'ast> for References {
    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        if import.leading_colon.is_none() && !is_test(&import.attrs) {
            self.import(&[], &import.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.references.push(Reference { segments, line: first.ident.span().start().line });
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.visit_path(&invocation.path);
        self.tokens(invocation.tokens.clone());
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.depth += 1;
        visit::visit_block(self, block);
        self.depth -= 1;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    /// An item within a function.
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

/// Whether an item is compiled for tests only.
pub(super) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test")))
}

/// An item's attributes, and its name if it has one.
fn describe(item: &syn::Item) -> (&[syn::Attribute], Option<&syn::Ident>) {
    match item {
        syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Union(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Impl(item) => (&item.attrs, None),
        syn::Item::ExternCrate(_)
        | syn::Item::ForeignMod(_)
        | syn::Item::Mod(_)
        | syn::Item::TraitAlias(_)
        | syn::Item::Use(_)
        | syn::Item::Verbatim(_)
        | _ => (&[], None),
    }
}
