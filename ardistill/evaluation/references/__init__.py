"""What samples are held against: folders of images and files of statistics, opened once and kept by content hash."""
