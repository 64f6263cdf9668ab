! SPDX-License-Identifier: Apache-2.0
!> A rank without cells, as a decomposition over too many ranks makes them: its bounds end before they begin.
program no_cells
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_array, coupler_t
   use testing, only: new_coupler, report, report_error
   implicit none

   call couple('no_rows', 5, 4, 1, 3)
   call couple('rows_of_two_ranks_before', 5, 3, 1, 3)
   call couple('rows_far_before', 5, 0, 1, 3)
   call couple('no_columns', 1, 3, 5, 4)
   call couple('columns_far_before', 1, 3, 5, 0)
   call couple('both', 5, 3, 5, 3)
   call couple('not_to_tell_from_assumed_size', 1, 3, 5, 3)

contains

   !> Couple the tile (its:ite, jts:jte) of a domain.
   subroutine couple(name, its, ite, jts, jte)
      character(len=*), intent(in) :: name
      integer, intent(in) :: its, ite, jts, jte
      type(coupler_t) :: coupler
      integer :: id(its:ite, jts:jte), rc, ended
      real(real64) :: place(its:ite, jts:jte)
      real(real64), target :: domain(9, 9)
      real(real64), allocatable, target :: lai(:, :)

      domain = 1.0_real64
      allocate (lai(its:ite, jts:jte))
      id = 1
      place = 0.0_real64
      call new_coupler(coupler)
      call coupler%set_cells(id, place, place, rc=rc)
      if (rc == 0) call coupler%bind('tas', domain(its:ite, jts:jte), rc=rc)
      if (rc == 0) call coupler%bind_array('lai', coupler_array(lai), rc=rc)
      if (rc == 0) call coupler%step(rc=rc)
      call report_error(name, coupler, rc)
      call coupler%finalize(rc=ended)
      call report(name//'_finalize', ended)
   end subroutine couple

end program no_cells
