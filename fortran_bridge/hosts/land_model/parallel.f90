! SPDX-License-Identifier: Apache-2.0
!> What the ranks do together: start, stop, share out the cells, and add up.
!!
!! Sums over all cells are made in the order of the cells, so their bits do not depend on the number of ranks.
module parallel
   use, intrinsic :: iso_fortran_env, only: error_unit, int64
   use mpi_f08, only: mpi_comm, mpi_comm_world, mpi_status_ignore, mpi_double_precision, &
      mpi_max, mpi_sum, mpi_abort, mpi_allreduce, mpi_bcast, mpi_comm_rank, mpi_comm_size, mpi_finalize, mpi_init, &
      mpi_recv, mpi_send
   use constants, only: wp
   implicit none
   private
   public :: parallel_t, stop_all

   type :: parallel_t
      !! The ranks of this run, as one of them sees them.
      type(mpi_comm) :: communicator
      integer :: rank = 0
         !! This rank, from 0.
      integer :: size = 1
         !! Number of ranks.
   contains
      procedure :: start
      procedure :: finish
      procedure :: owner
      procedure :: ordered_sums
      procedure :: largest
      procedure :: mean
   end type parallel_t

contains

   subroutine start(self)
      !! Start MPI. The host owns MPI: whatever it couples to finds it running.
      class(parallel_t), intent(out) :: self

      call mpi_init()
      self%communicator = mpi_comm_world
      call mpi_comm_rank(self%communicator, self%rank)
      call mpi_comm_size(self%communicator, self%size)
   end subroutine start

   subroutine finish(self)
      !! End MPI.
      class(parallel_t), intent(inout) :: self

      call mpi_finalize()
      self%size = 1
   end subroutine finish

   pure integer function owner(self, before, work, total)
      !! The rank that owns an item, where items in a row are shared out in contiguous blocks of about equal work.
      class(parallel_t), intent(in) :: self
      integer, intent(in) :: before
         !! Work of the items before it.
      integer, intent(in) :: work
         !! Work of the item.
      integer, intent(in) :: total
         !! Work of all items.

      owner = int((2_int64*before + work)*self%size/(2_int64*total))  ! the rank in whose share its middle falls
   end function owner

   function ordered_sums(self, values) result(sums)
      !! Sum each column of `values(cell, column)` over the cells of all ranks, in the order of the cells.
      !!
      !! The running sums travel from rank to rank, so the same additions are made in the same order on any number
      !! of ranks. They carry Neumaier's compensation (1974, doi 10.1002/zamm.19740540106), so that budgets
      !! are judged by what the model does and not by how its numbers are added.
      class(parallel_t), intent(in) :: self
      real(wp), intent(in) :: values(:, :)
      real(wp) :: sums(size(values, 2))
         !! The same on every rank.
      real(wp) :: running(size(values, 2), 2), next
      integer :: cell, column

      running = 0.0_wp
      if (self%rank > 0) then
         call mpi_recv(running, size(running), mpi_double_precision, self%rank - 1, 0, self%communicator, &
            mpi_status_ignore)
      end if
      do column = 1, size(values, 2)
         associate (total => running(column, 1), correction => running(column, 2))
            do cell = 1, size(values, 1)
               next = total + values(cell, column)
               if (abs(total) >= abs(values(cell, column))) then
                  correction = correction + ((total - next) + values(cell, column))
               else
                  correction = correction + ((values(cell, column) - next) + total)
               end if
               total = next
            end do
         end associate
      end do
      if (self%rank < self%size - 1) then
         call mpi_send(running, size(running), mpi_double_precision, self%rank + 1, 0, self%communicator)
      end if
      sums = running(:, 1) + running(:, 2)
      call mpi_bcast(sums, size(sums), mpi_double_precision, self%size - 1, self%communicator)
   end function ordered_sums

   real(wp) function largest(self, value)
      !! The largest of the values of all ranks, on every rank.
      class(parallel_t), intent(in) :: self
      real(wp), intent(in) :: value

      call mpi_allreduce(value, largest, 1, mpi_double_precision, mpi_max, self%communicator)
   end function largest

   real(wp) function mean(self, value)
      !! Mean of the values of all ranks, on every rank; for timings, as its last bits depend on the ranks.
      class(parallel_t), intent(in) :: self
      real(wp), intent(in) :: value

      call mpi_allreduce(value, mean, 1, mpi_double_precision, mpi_sum, self%communicator)
      mean = mean/self%size
   end function mean

   subroutine stop_all(message)
      !! Say what went wrong and stop every rank: a rank that stops alone leaves the others waiting.
      character(len=*), intent(in) :: message
      integer :: rank

      call mpi_comm_rank(mpi_comm_world, rank)
      write (error_unit, '(a, i0, 2a)') 'land_model, rank ', rank, ': ', message
      flush (error_unit)
      call mpi_abort(mpi_comm_world, 1)
   end subroutine stop_all
end module parallel
