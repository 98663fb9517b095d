"""What requests say and answers show. Tables and canonical records have names of their own."""
