//! Every key the mesh keeps in etcd, and how it is read, written, watched and sealed.
