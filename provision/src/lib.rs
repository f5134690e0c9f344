//! Prov.
