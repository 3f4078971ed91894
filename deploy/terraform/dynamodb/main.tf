# The three tables of Chatkeep on DynamoDB, as docs/reference/dynamodb-schema.md describes them. The local indexes cannot
# be added to a table later. `chatkeep migrate` makes the same tables; use one way or the other.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "prefix" {
  description = "What the names of the tables begin with, as in dynamodb://REGION/PREFIX."
  type        = string
  default     = "chatkeep-"
}

variable "deletion_protection" {
  description = "Whether a table must be unprotected before it can be deleted."
  type        = bool
  default     = true
}

variable "point_in_time_recovery" {
  description = "Whether the tables can be restored to any second of the last 35 days."
  type        = bool
  default     = true
}

resource "aws_dynamodb_table" "sessions" {
  name                        = "${var.prefix}sessions"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "pk"
    type = "B"
  }
  attribute {
    name = "sk"
    type = "B"
  }
  attribute {
    name = "lst"
    type = "B"
  }
  attribute {
    name = "chg"
    type = "B"
  }

  local_secondary_index {
    name               = "by_list"
    range_key          = "lst"
    projection_type    = "INCLUDE"
    non_key_attributes = ["rec"]
  }
  local_secondary_index {
    name            = "by_change"
    range_key       = "chg"
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }
}

resource "aws_dynamodb_table" "log" {
  name                        = "${var.prefix}log"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "pk"
    type = "B"
  }
  attribute {
    name = "sk"
    type = "B"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }
}

resource "aws_dynamodb_table" "work" {
  name                        = "${var.prefix}work"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "pk"
    type = "B"
  }
  attribute {
    name = "sk"
    type = "B"
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }
}

output "url" {
  description = "The value of CHATKEEP_STORE_URL, without the region."
  value       = "dynamodb:///${var.prefix}"
}

output "table_arns" {
  description = "For a policy: GetItem, PutItem, UpdateItem, DeleteItem, Query and Scan on these and on the indexes of sessions."
  value = [
    aws_dynamodb_table.sessions.arn,
    "${aws_dynamodb_table.sessions.arn}/index/*",
    aws_dynamodb_table.log.arn,
    aws_dynamodb_table.work.arn,
  ]
}
