//! `#[derive(Tree)]` for `onetrace`: a struct of tensors is a tree.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Index, Member, parse_macro_input, parse_quote};

/// Implements `onetrace::tree::Tree` for a struct.
///
/// Every field must be a tree itself, or be marked `#[tree(static)]`: then it is not traced, is
/// copied along, and is part of the structure of the tree. It must be `Clone + Debug`, and `Debug`
/// must tell its values apart: a compiled function takes values that print the same for the same.
///
/// A field marked `#[tree(state)]` is a tree whose leaves are state (batch statistics, a counter,
/// keys) and no parameters: they are traced, saved and carried by loops as any other, and gradients
/// and optimisers pass them by. Whatever such a field holds, all of it is state.
#[proc_macro_derive(Tree, attributes(tree))]
pub fn derive_tree(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> Result<TokenStream, Error> {
    let fields = match &input.data {
        Data::Struct(data) => data.fields.clone(),
        Data::Enum(data) => return Err(only_structs(data.enum_token.span())),
        Data::Union(data) => return Err(only_structs(data.union_token.span())),
    };

    let mut visits = Vec::new();
    let mut maps = Vec::new();
    let mut modes = Vec::new();
    let (mut tree_types, mut static_types) = (TokenStream::new(), TokenStream::new());
    for (index, field) in fields.iter().enumerate() {
        let (member, key) = match &field.ident {
            Some(name) => {
                let text = name.to_string();
                let text = text.trim_start_matches("r#");
                (Member::Named(name.clone()), quote!(::onetrace::tree::Key::Field(#text)))
            }
            None => {
                (Member::Unnamed(Index::from(index)), quote!(::onetrace::tree::Key::Index(#index)))
            }
        };
        let ty = &field.ty;
        let role = role(field)?;
        if role == Role::Static {
            static_types.extend(quote!(#ty));
            visits.push(quote!(
                path.with(#key, |path| f(path, ::onetrace::tree::Node::Static(&self.#member)));
            ));
            maps.push(quote!(#member: ::core::clone::Clone::clone(&self.#member)));
        } else {
            tree_types.extend(quote!(#ty));
            let (with, arguments) = match role {
                Role::State => (quote!(with_kind), quote!(#key, ::onetrace::tree::Kind::State,)),
                _ => (quote!(with), quote!(#key,)),
            };
            visits.push(quote!(
                path.#with(#arguments |path| <#ty as ::onetrace::tree::Tree>::visit(&self.#member, path, f));
            ));
            maps.push(quote!(
                #member: path.#with(#arguments |path| <#ty as ::onetrace::tree::Tree>::map(&self.#member, path, f))
            ));
            modes.push(quote!(
                <#ty as ::onetrace::tree::Tree>::set_modes(&mut self.#member, mode);
            ));
        }
    }

    // What a parameter must be depends on the fields it is used in.
    for parameter in input.generics.type_params_mut() {
        if mentions(&tree_types, &parameter.ident) {
            parameter.bounds.push(parse_quote!(::onetrace::tree::Tree));
        }
        if mentions(&static_types, &parameter.ident) {
            parameter.bounds.push(parse_quote!(::core::clone::Clone));
            parameter.bounds.push(parse_quote!(::core::fmt::Debug));
        }
    }
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::onetrace::tree::Tree for #name #type_generics #where_clause {
            #[allow(unused_variables, reason = "a struct may have no field")]
            fn visit<'tree>(
                &'tree self,
                path: &mut ::onetrace::tree::Path,
                f: &mut dyn ::core::ops::FnMut(&::onetrace::tree::Path, ::onetrace::tree::Node<'tree>),
            ) {
                #(#visits)*
            }

            #[allow(unused_variables, reason = "a struct may have no field")]
            fn map(
                &self,
                path: &mut ::onetrace::tree::Path,
                f: &mut dyn ::core::ops::FnMut(
                    &::onetrace::tree::Path,
                    &::onetrace::Tensor,
                ) -> ::onetrace::Tensor,
            ) -> Self {
                #name { #(#maps),* }
            }

            #[allow(unused_variables, reason = "a struct may have no field")]
            fn set_modes(&mut self, mode: ::onetrace::nn::Mode) {
                #(#modes)*
            }
        }
    })
}

fn only_structs(span: proc_macro2::Span) -> Error {
    Error::new(
        span,
        "Tree can be derived for structs only: which leaves an enum has depends on its value",
    )
}

/// Whether a name stands somewhere in these types.
fn mentions(types: &TokenStream, name: &Ident) -> bool {
    types.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(&group.stream(), name),
        _ => false,
    })
}

/// What a field is to the tree.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// A tree.
    Part,
    /// A tree whose leaves are state.
    State,
    /// Data that is not traced.
    Static,
}

/// What the attribute of a field says, `#[tree(static)]` or `#[tree(state)]`; any other is a
/// mistake.
fn role(field: &Field) -> Result<Role, Error> {
    let mut role = Role::Part;
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("tree")) {
        let argument: TokenStream = attribute.parse_args()?;
        let said = match argument.to_string().as_str() {
            "static" => Role::Static,
            "state" => Role::State,
            _ => {
                let message = "the attributes are #[tree(static)] and #[tree(state)]";
                return Err(Error::new(argument.span(), message));
            }
        };
        if role != Role::Part && role != said {
            let message = "a field is #[tree(static)] or #[tree(state)], not both";
            return Err(Error::new(argument.span(), message));
        }
        role = said;
    }
    Ok(role)
}
