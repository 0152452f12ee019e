//! Consistent hashing with the points of nginx's ketama ring.
