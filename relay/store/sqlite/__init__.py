"""What only SQLite needs: the file, its write lock, its journal."""
